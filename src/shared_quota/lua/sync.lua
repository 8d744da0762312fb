-- A daemon is alive: its leases go on.
if not is_joined() then
  return must_join()
end
local reply = {}
renew(reply)
touch()
return cjson.encode(reply)
