-- The ledger of a pool: which daemon holds which quota group. What every operation begins with.
--
-- ledger   gen, run, last, learning, awaited, doubt, known:GEN
-- daemons  id -> what it said last, and when its leases end
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

-- Notes that `q.id` is alive, with what it says of itself.
local function keep_row(joined)
  local row = q.row or {}
  local known = row_of(q.id)
  local same = known and known.life == q.life and known.since
  row.since = same and known.since or text(now)
  row.beat = text(now)
  row.ends = text(now + LEASE)
  row.joined = joined
  row.life = q.life
  row.visit = q.visit
  put(daemons, q.id, cjson.encode(row))
  put(layouts, q.layout, row.ends)
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

-- How long nobody may take a group, because those who held some before may still come.
local function learning()
  local ends = moment('learning')
  return ends > now and ends - now or 0
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
      table.insert(reply.daemons, row)
    end
  end
  reply.now = text(now)
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
