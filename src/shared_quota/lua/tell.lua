-- A daemon tells what it has learnt: about keys to all, about leases to the holders of their
-- groups.
if is_joined() then
  touch()
end
local alive = others_alive()
for _, one in ipairs(q.news or {}) do
  local key, news = one[1], one[2]
  if news == 'revived' then
    redis.call('HDEL', marks, key)
  elseif news.dead then
    put(marks, key, cjson.encode({ news = news }))
  end
  for _, place in pairs(alive) do
    post(place, { news = { { key, news } } })
  end
end
for _, one in ipairs(q.letters or {}) do
  local name, letter = one[1], one[2]
  local group = group_of(name)
  if group and group.holder ~= '' and alive[group.holder] then
    post(alive[group.holder], { letters = { { name, letter } } })
  else
    local lying = redis.call('HGET', mail, name)
    local letters = lying and cjson.decode(lying) or {}
    table.insert(letters, letter)
    put(mail, name, cjson.encode(letters))
  end
end
return '{}'
