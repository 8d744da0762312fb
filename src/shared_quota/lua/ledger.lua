-- The ledger of a pool: which daemon holds which quota group. What every operation begins with.
--
-- ledger   gen, run, last, learning, awaited, doubt, known:GEN
-- daemons  id -> what it said last, when its leases end, and its part of every limit
-- groups   name -> holder|epoch|changed|free|doubt, where an empty holder is nobody
-- parcels  name -> what its last holder handed over
-- days     name -> day|requests, as its holder counted them last
-- marks    key -> what was learnt about it
-- mail     name -> letters for its next holder
-- layouts  layout -> when the last lease under it ends
--
-- `layouts` and `days` are the same in every version of the layout; the others are of one.
--
-- Times are microseconds of this server's clock. The daemons' clocks are never asked: they are
-- told spans, and tell spans.
local ledger, daemons, groups, parcels, days, marks, mail, layouts = unpack(KEYS, 1, 8)
local q = cjson.decode(ARGV[1])
local LEASE = 15000000
local KEPT = 172800000
-- Parts are in 720720ths. One lasts for a day; what was used of it counts for a minute more.
local WHOLE = 720720
local PART_KEPT = 86520000000

local function text(number)
  return string.format('%.0f', number)
end

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') or 'unknown'

-- Everything ends by itself some time after nobody has touched it.
local function put(key, name, value)
  redis.call('HSET', key, name, value)
  redis.call('PEXPIRE', key, KEPT)
end

local function field(name)
  return redis.call('HGET', ledger, name)
end

local function set(name, value)
  put(ledger, name, value)
end

local function moment(name)
  return tonumber(field(name) or 0)
end

local function row_of(id)
  local row = redis.call('HGET', daemons, id)
  return row and cjson.decode(row)
end

local function is_alive(id)
  local row = row_of(id)
  return row ~= nil and row ~= false and tonumber(row.ends) >= now
end

-- How long nobody may take a group, because those who held some before may still come.
local function learning()
  local ends = moment('learning')
  return ends > now and ends - now or 0
end

-- Every daemon but `q.id` that is not forgotten, by its id.
local function other_rows()
  local rows = redis.call('HGETALL', daemons)
  local others = {}
  for n = 1, #rows, 2 do
    local row = cjson.decode(rows[n + 1])
    if now > tonumber(row.ends) + PART_KEPT then
      redis.call('HDEL', daemons, rows[n])
    elseif rows[n] ~= q.id then
      others[rows[n]] = row
    end
  end
  return others
end

-- Whether the part of a daemon is withheld: it may be cut off, or was, and what it has used counts.
local function is_withheld(row, gen)
  return (row.most or 0) > 0 and (row.joined ~= gen or now > tonumber(row.heard) + LEASE
    or now < tonumber(row.keep))
end

local function withheld(others, gen)
  local sum = 0
  for _, row in pairs(others) do
    sum = sum + (is_withheld(row, gen) and row.most or 0)
  end
  return math.min(sum, WHOLE)
end

-- Notes that `q.id` is alive, with what it says of itself, and offers it a part of what the others
-- leave. `most` is the most that it may believe it has: what it says, and all it was offered since
-- the last answer that it says to have received.
local function keep_row(gen, reply)
  local others = other_rows()
  local old = row_of(q.id) or {}
  local is_same = old.life == q.life
  local row = q.row or {}
  row.since = is_same and old.since or text(now)
  row.beat = text(now)
  row.ends = text(now + LEASE)
  row.joined = gen
  row.life = q.life
  row.visit = q.visit
  row.shares = q.shares

  local heard = is_same and old.joined == gen and tonumber(old.heard) or 0
  local said = q.gen == gen and tonumber(q.heard) or 0
  local keep = math.max(tonumber(old.keep or 0), q.keep > 0 and now + q.keep or 0)
  if not is_same and is_withheld(old, gen) then
    -- This process does not know what the one before has used.
    keep = math.max(keep, now + q.window)
  end
  local most = old.most or 0
  if (said > heard or not is_same) and now >= keep then
    most = 0
  end
  if heard == 0 and q.part == 0 then
    -- It has no part before it has this answer.
    heard = now
  end
  row.heard = text(math.max(heard, said))
  row.keep = text(keep)
  most = math.max(most, q.part)

  local taken, sharers = 0, 1
  for _, other in pairs(others) do
    taken = taken + (other.most or 0)
    if other.shares and tonumber(other.ends) >= now then
      sharers = sharers + 1
    end
  end
  local equal = q.shares and math.floor(WHOLE / sharers) or 0
  local offer = math.max(0, math.min(equal, WHOLE - taken))
  if learning() > 0 then
    -- Others may still say what they have.
    offer = math.min(offer, q.part)
  end
  row.most = math.max(most, offer)
  put(daemons, q.id, cjson.encode(row))
  put(layouts, q.layout, row.ends)

  reply.part = offer
  reply.withheld = withheld(others, gen)
  reply.settled = offer == equal and row.most == offer and reply.withheld == 0
  reply.parts = {}
  for id, other in pairs(others) do
    if (other.most or 0) > 0 then
      table.insert(reply.parts, { id, other.most })
    end
  end
end

-- `q.id` goes: it is forgotten as soon as what it has used in parts counts no more.
local function drop_row(gen)
  local row = row_of(q.id)
  if row and is_withheld(row, gen) and now < tonumber(row.keep) then
    row.ends = text(tonumber(row.keep) - PART_KEPT)
    put(daemons, q.id, cjson.encode(row))
  else
    redis.call('HDEL', daemons, q.id)
  end
end

-- Another layout under which this pool was used, and when the last lease under it ends.
local function other_layout()
  local rows = redis.call('HGETALL', layouts)
  local other
  local ends = 0
  for n = 1, #rows, 2 do
    if rows[n] ~= q.layout and tonumber(rows[n + 1]) > ends then
      other = rows[n]
      ends = tonumber(rows[n + 1])
    end
  end
  return other, ends
end

local function group_of(name)
  local entry = redis.call('HGET', groups, name)
  if not entry then
    return nil
  end
  local holder, epoch, changed, free, doubt =
    string.match(entry, '^([^|]*)|(%d+)|(%d+)|(%d+)|(%d+)$')
  return {
    holder = holder,
    epoch = tonumber(epoch),
    changed = tonumber(changed),
    free = tonumber(free),
    doubt = tonumber(doubt),
  }
end

local function keep_group(name, group)
  local entry = { group.holder, text(group.epoch), text(group.changed), text(group.free),
    text(group.doubt) }
  put(groups, name, table.concat(entry, '|'))
end

-- Whether what is written here is known to go on from what it was: the same server, not silent for
-- so long that everybody's leases have ended without a word.
local function goes_on()
  return field('gen') and field('run') == run and now - moment('last') < LEASE / 2
end

-- Whether `q.id` is known here and may act.
local function is_joined()
  local row = row_of(q.id)
  return goes_on() and field('gen') == q.gen and row and row.joined == q.gen
    and row.life == q.life and row.visit == q.visit and tonumber(row.ends) >= now
end

local function touch()
  set('last', text(now))
  for place = 1, 8 do
    redis.call('PEXPIRE', KEYS[place], KEPT)
  end
end

-- What is said of the daemons, for `reply`: of those that are alive, and of those in `also`.
local function tell_daemons(reply, also)
  local rows = redis.call('HGETALL', daemons)
  reply.daemons = {}
  for n = 1, #rows, 2 do
    local row = cjson.decode(rows[n + 1])
    local left = tonumber(row.ends) - now
    if left >= 0 or also and also[rows[n]] then
      row.id = rows[n]
      row.left = math.max(left, 0)
      row.lapsed = math.max(-left, 0)
      row.up = now - tonumber(row.since or now)
      row.silent = now - tonumber(row.beat or now)
      row.since = nil
      row.beat = nil
      row.ends = nil
      row.joined = nil
      row.life = nil
      row.visit = nil
      row.heard = nil
      row.keep = nil
      row.most = nil
      row.shares = nil
      row.asked = nil
      table.insert(reply.daemons, row)
    end
  end
  reply.now = text(now)
end

-- What one hears who must join: whether it is another process that goes by this id.
local function must_join()
  local row = row_of(q.id)
  local twin = row and row.life ~= q.life and tonumber(row.ends) >= now
  return cjson.encode({ join = true, twin = twin or false })
end

-- Whatever a daemon asks for, it may say as well that it is alive: its leases go on, and it hears of
-- the fleet.
local function renew(reply)
  if not q.row then
    return
  end
  reply.learning = learning()
  keep_row(q.gen, reply)
  for _, day in ipairs(q.days or {}) do
    put(days, day[1], day[2] .. '|' .. text(day[3]))
  end
  tell_daemons(reply)
end

-- Puts a message into the inbox of the `place`th of `q.others`.
local function post(place, message)
  local inbox = KEYS[8 + place]
  redis.call('RPUSH', inbox, cjson.encode(message))
  redis.call('LTRIM', inbox, -1000, -1)
  redis.call('PEXPIRE', inbox, 60000)
end

local function others_alive()
  local alive = {}
  for place, id in ipairs(q.others or {}) do
    if id ~= q.id and is_alive(id) then
      alive[id] = place
    end
  end
  return alive
end
