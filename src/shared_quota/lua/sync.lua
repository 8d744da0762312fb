-- A daemon is alive: its leases go on.
if not is_joined() then
  local row = row_of(q.id)
  local twin = row and row.life ~= q.life and tonumber(row.ends) >= now
  return cjson.encode({ join = true, twin = twin or false })
end
local reply = {}
renew(reply)
touch()
return cjson.encode(reply)
