-- The fleet as the ledger has it: for people.
local reply = { learning = learning(), groups = {} }
local holders = {}
local all = redis.call('HGETALL', groups)
for n = 1, #all, 2 do
  local group = group_of(all[n])
  if group then
    local holder = group.holder ~= '' and group.holder or nil
    if holder then
      holders[holder] = true
    end
    table.insert(reply.groups, {
      name = all[n],
      holder = holder,
      epoch = group.epoch,
      free_in = math.max(group.free - now, 0),
    })
  end
end
tell_daemons(reply, holders)
return cjson.encode(reply)
