-- A daemon hands groups over; whoever waits for them is told.
if not is_joined() then
  return must_join()
end
local reply = {}
renew(reply)
local released = {}
for _, one in ipairs(q.groups or {}) do
  local group = group_of(one.name)
  if group and group.holder == q.id and group.epoch == one.epoch then
    keep_group(one.name, { holder = '', epoch = one.epoch, changed = now, free = now + one.free_in,
      doubt = 0 })
    put(parcels, one.name, one.parcel)
    table.insert(released, one.name)
  end
end
local alive = others_alive()
for _, id in ipairs(q.waiting or {}) do
  if alive[id] and #released > 0 then
    post(alive[id], { free = released })
  end
end
touch()
if q.leaves then
  drop_row(q.gen)
  local last = 0
  local rows = redis.call('HGETALL', daemons)
  for n = 1, #rows, 2 do
    last = math.max(last, tonumber(cjson.decode(rows[n + 1]).ends))
  end
  -- Daemons of another layout may come as soon as the last lease has ended.
  put(layouts, q.layout, text(math.min(math.max(last, now), now + LEASE)))
end
return cjson.encode(reply)
