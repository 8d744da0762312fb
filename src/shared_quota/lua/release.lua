-- A daemon hands groups over: to the one that has asked, or to nobody, and whoever waits for them is
-- told.
if not is_joined() then
  return '{"join":true}'
end
local reply = {}
renew(reply)
local alive = others_alive()
-- The visit tells what is given now from what the same daemon may be given after it has come anew
-- and has said that it does not hold this.
local to = q.to and alive[q.to] and learning() == 0 and row_of(q.to)
to = to and to.joined == q.gen and to
local given = {}
local released = {}
for _, one in ipairs(q.groups or {}) do
  local group = group_of(one.name)
  if group and group.holder == q.id and group.epoch == one.epoch then
    put(parcels, one.name, one.parcel)
    local next_holder = { holder = '', epoch = one.epoch, changed = now, free = now + one.free_in,
      doubt = 0 }
    if to and one.free_in == 0 then
      table.insert(given, hand_out(one.name, group, 0))
      next_holder.holder = q.to
      next_holder.epoch = one.epoch + 1
    else
      table.insert(released, one.name)
    end
    keep_group(one.name, next_holder)
  end
end
if #given > 0 then
  post(alive[q.to], { given = given, visit = to.visit })
end
for _, id in ipairs(q.waiting or { q.to }) do
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
