/// The operations of ``RedisCache`` as Lua scripts: one step for the server each, and one round trip.
///
/// A lifetime is one number of milliseconds: 0 for ever, above 0 from the making of the key, below 0 from this change. Counters
/// are read back as the server writes them, because Lua's own numbers are exact below 2⁵³ only. A value that is no counter is
/// the answer "x".
enum CacheScript {
  /// Keys: the counter, and the one that must be there, if any. Arguments: what is added, lifetime.
  static let add = RedisScript(
    #"""
    if KEYS[2] and redis.call('EXISTS', KEYS[2]) == 0 then return false end
    local key, life = KEYS[1], tonumber(ARGV[2])
    local isNew = redis.call('EXISTS', key) == 0
    local sum = redis.pcall('INCRBY', key, ARGV[1])
    if type(sum) == 'table' then
      if string.find(sum.err, 'not an integer', 1, true) or string.find(sum.err, 'overflow', 1, true) then return 'x' end
      return sum
    end
    if life < 0 or (life > 0 and isNew) then redis.call('PEXPIRE', key, math.abs(life))
    elseif life == 0 and not isNew then redis.call('PERSIST', key) end
    return redis.call('GET', key)
    """#)

  /// Arguments: whether a value is expected, which; whether there is a new one, which; lifetime.
  static let replace = RedisScript(
    #"""
    local old = redis.call('GET', KEYS[1])
    if ARGV[1] == '1' then
      if old ~= ARGV[2] then return 0 end
    elseif old then
      return 0
    end
    local life = tonumber(ARGV[5])
    if ARGV[3] == '0' then
      if old then redis.call('DEL', KEYS[1]) end
    elseif life == 0 then
      redis.call('SET', KEYS[1], ARGV[4])
    elseif life < 0 or not old then
      redis.call('SET', KEYS[1], ARGV[4], 'PX', math.abs(life))
    else
      redis.call('SET', KEYS[1], ARGV[4], 'KEEPTTL')
    end
    return 1
    """#)

  /// Arguments: cost, limit and lifetime of each key. Answer: which key would have passed its limit, from 1 on, or 0; then
  /// what each of them holds. Everything is decided before anything is written.
  static let take = RedisScript(
    #"""
    local now, was, before, isNew = {}, {}, {}, {}
    local function number(key)
      local text = redis.call('GET', key)
      if not text then return 0, true end
      if text ~= '0' and not string.match(text, '^-?[1-9]%d*$') then return nil end
      if #text > 18 and type(redis.pcall('INCRBY', key, 0)) == 'table' then return nil end
      return tonumber(text), false
    end
    for i, key in ipairs(KEYS) do
      if now[key] == nil then
        local held, fresh = number(key)
        if held == nil then return 'x' end
        now[key], was[key], isNew[key] = held, held, fresh
      end
      before[i] = now[key]
    end
    for i, key in ipairs(KEYS) do
      local cost, limit, held = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1]), now[key]
      if cost > 0 then
        if held + cost > limit then
          table.insert(before, 1, i)
          return before
        end
        now[key] = held + cost
      elseif held > 0 then
        now[key] = math.max(0, held + cost)
      end
    end
    local answer = { 0 }
    for i, key in ipairs(KEYS) do
      local life, held = tonumber(ARGV[3 * i]), now[key]
      answer[i + 1] = held
      if tonumber(ARGV[3 * i - 2]) ~= 0 and not (isNew[key] and held == 0) then
        if held ~= was[key] then redis.call('INCRBY', key, string.format('%.0f', held - was[key])) end
        if life < 0 or (life > 0 and isNew[key]) then redis.call('PEXPIRE', key, math.abs(life))
        elseif life == 0 and not isNew[key] then redis.call('PERSIST', key) end
        was[key], isNew[key] = held, false
      end
    end
    return answer
    """#)
}
