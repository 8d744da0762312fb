-- A daemon is alive: its leases go on.
if not is_joined() then
  local row = row_of(q.id)
  local twin = row and row.life ~= q.life and tonumber(row.ends) >= now
  return cjson.encode({ join = true, twin = twin or false })
end
local reply = { learning = learning() }
keep_row(q.gen, reply)
for _, day in ipairs(q.days or {}) do
  put(days, day[1], day[2] .. '|' .. text(day[3]))
end
touch()
tell_daemons(reply)
return cjson.encode(reply)
