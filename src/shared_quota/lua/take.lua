-- A daemon wants groups: it gets those that nobody holds, or whoever holds some is asked.
if not is_joined() then
  return must_join()
end
touch()
local reply = {}
renew(reply)
if learning() > 0 then
  reply.learning = learning()
  return cjson.encode(reply)
end

local doubt = moment('doubt')
local taken = {}
local free_in
local holders = {}
local held = 0
local left_behind = false
for _, name in ipairs(q.names) do
  if #taken >= q.most then
    break
  end
  local group = group_of(name)
  local known = group ~= nil
  group = group or { holder = '', epoch = 0, changed = 0, free = 0, doubt = 0 }
  local unsure = math.max(group.doubt, group.changed < doubt and doubt or 0)
  local is_free = group.holder == ''
  if group.holder ~= '' and (group.holder == q.id or not is_alive(group.holder)) then
    -- Its holder went without a word, and may have used it as long as its leases lasted.
    local row = row_of(group.holder)
    is_free = true
    known = true
    unsure = math.max(unsure, row and tonumber(row.ends) or now)
    unsure = math.min(unsure, now)
    group.free = 0
    left_behind = true
  end
  if is_free and group.free <= now then
    local one = { name = name, epoch = group.epoch + 1, ago = known and now - group.changed or 0 }
    one.parcel = redis.call('HGET', parcels, name) or nil
    if unsure > 0 and unsure > now - 86400000000 then
      one.doubt = now - unsure
      one.day = redis.call('HGET', days, name) or nil
    end
    one.mail = redis.call('HGET', mail, name) or nil
    redis.call('HDEL', mail, name)
    keep_group(name, { holder = q.id, epoch = group.epoch + 1, changed = group.changed, free = 0,
      doubt = 0 })
    table.insert(taken, one)
  elseif is_free then
    local wait = group.free - now
    free_in = free_in and math.min(free_in, wait) or wait
  else
    holders[group.holder] = holders[group.holder] or {}
    table.insert(holders[group.holder], name)
    held = held + 1
  end
end

reply.free_in = free_in
if left_behind then
  -- Who was its holder may go on with a part of it.
  reply.withheld = withheld(other_rows(), q.gen)
end
if #taken > 0 then
  reply.taken = taken
  return cjson.encode(reply)
end

-- Those who can best do without are asked: the one with the most room first, in the groups that are
-- wanted, as far as is known. Who is asked is thought to give half of it, until he says how much he
-- has.
local ranked = {}
for id, place in pairs(others_alive()) do
  if holders[id] then
    local row = row_of(id)
    local part = math.min(#holders[id] / math.max(row.held or 1, 1), 1)
    local room = (row.room or 0) * part / 2 ^ (row.asked or 0)
    table.insert(ranked, { place = place, id = id, row = row, room = room })
  end
end
table.sort(ranked, function(a, b)
  if a.room == b.room then
    return a.id < b.id
  end
  return a.room > b.room
end)
for n = 1, math.min(#ranked, q.ask) do
  local asked = ranked[1 + (n - 1 + q.turn) % #ranked]
  post(asked.place, { want = holders[asked.id], need = q.need, from = q.id })
  asked.row.asked = (asked.row.asked or 0) + 1
  put(daemons, asked.id, cjson.encode(asked.row))
end
reply.held = held
return cjson.encode(reply)
