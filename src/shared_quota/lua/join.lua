-- A daemon comes, or comes back, and says what it holds.
local FRESH = 2000000

-- Daemons of a version with another layout know nothing of what is written under this one: either
-- those have the pool, or these.
local other, ended = other_layout()
if other and ended > now then
  return cjson.encode({ layout = tonumber(other) })
end
-- What it held before they came may have been used by them.
local own = row_of(q.id)
local is_stale = ended > (own and tonumber(own.ends) or 0)
local uses_of_others = ended > moment('last') and ended or 0

local gen = field('gen')
if not gen then
  -- An empty ledger: either nobody was here before, or everything was lost.
  gen = text(now)
  set('gen', gen)
  set('run', run)
  if q.gen == '' then
    set('learning', text(now + FRESH))
  else
    set('learning', text(now + LEASE))
    set('doubt', text(now + LEASE))
  end
elseif not goes_on() then
  -- Another server, or the same after a long silence: whoever was alive then may still hold what
  -- this ledger does not know of.
  local last = moment('last')
  local awaited = {}
  local rows = redis.call('HGETALL', daemons)
  for n = 1, #rows, 2 do
    local row = cjson.decode(rows[n + 1])
    if tonumber(row.ends) >= last then
      awaited[rows[n]] = true
      row.ends = text(now + LEASE)
      put(daemons, rows[n], cjson.encode(row))
    end
  end
  if field('run') ~= run then
    set('doubt', text(now))
  end
  gen = text(now)
  set('gen', gen)
  set('run', run)
  set('awaited', cjson.encode(awaited))
  set('learning', text(now + LEASE))
elseif q.gen ~= '' and not field('known:' .. q.gen) then
  -- It knows a ledger of which this one knows nothing.
  set('learning', text(now + LEASE))
  set('doubt', text(now + LEASE))
end
if uses_of_others > moment('doubt') then
  set('doubt', text(uses_of_others))
end
set('known:' .. gen, '1')
if q.gen ~= '' then
  set('known:' .. q.gen, '1')
end

local learns = learning() > 0
local doubt = moment('doubt')
local lost = {}
local claimed = {}
for _, claim in ipairs(q.held or {}) do
  local name, epoch = claim[1], claim[2]
  local group = group_of(name)
  local free_for_it = not is_stale and (not group or group.holder == q.id
    or (group.holder == '' and learns and epoch >= group.epoch)
    or (group.holder ~= '' and not is_alive(group.holder) and epoch >= group.epoch))
  if free_for_it then
    local known = group and group.epoch or 0
    keep_group(name, { holder = q.id, epoch = math.max(epoch, known),
      changed = group and group.changed or now, free = 0, doubt = 0 })
    claimed[name] = true
  else
    table.insert(lost, name)
  end
end

-- What it does not know of it has never used: unless this ledger is not the latest.
local all = redis.call('HGETALL', groups)
for n = 1, #all, 2 do
  local group = group_of(all[n])
  if group and group.holder == q.id and not claimed[all[n]] then
    group.holder = ''
    group.doubt = learns and doubt > 0 and doubt or group.doubt
    group.free = 0
    keep_group(all[n], group)
  end
end

local awaited = field('awaited')
if awaited then
  awaited = cjson.decode(awaited)
  awaited[q.id] = nil
  if next(awaited) then
    set('awaited', cjson.encode(awaited))
  else
    redis.call('HDEL', ledger, 'awaited')
    set('learning', text(now))
  end
end
if q.gen ~= '' and q.gen ~= gen then
  -- Those of whom this ledger knows nothing may be cut off, and have their parts all the same.
  for _, known in ipairs(q.parts or {}) do
    if known[1] ~= q.id and not row_of(known[1]) then
      put(daemons, known[1], cjson.encode({ ends = text(now - 1), joined = '', life = '',
        most = known[2], heard = '0', keep = '0' }))
    end
  end
end
local reply = { gen = gen, learning = learning() }
keep_row(gen, reply)
touch()

if #lost > 0 then
  reply.lost = lost
end
local marked = redis.call('HGETALL', marks)
for n = 1, #marked, 2 do
  local mark = cjson.decode(marked[n + 1])
  reply.news = reply.news or {}
  table.insert(reply.news, { marked[n], mark.news })
end
tell_daemons(reply)
return cjson.encode(reply)
