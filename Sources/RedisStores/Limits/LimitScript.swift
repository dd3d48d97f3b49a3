/// The limiter as a Lua script: every algorithm of `Middlewares`, one key, one round trip, by the server's own clock.
///
/// Numbers are whole and below 2⁵³, which Lua's doubles hold exactly; times are microseconds. A bucket counts in units of
/// which one token is `period / g` and one microsecond gives back `count / g`, with `g` their greatest common divisor: so a
/// rate that does not divide a second loses nothing to rounding.
///
/// Arguments: operation, algorithm, cost, tokens wanted at most, count, period, burst, whether the rate is the caller's own,
/// milliseconds for which an idle key is kept. Result: tokens granted or -1, limit, remaining, reset, retry (-1: never), delay.
enum LimitScript {
  static let script = RedisScript(source)

  private static let source = #"""
    local op, alg, cost, want = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
    local count, period, burst = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
    local given, keep = ARGV[8] == '1', tonumber(ARGV[9])
    local clock = redis.call('TIME')
    local now = clock[1] * 1000000 + clock[2]
    local key, fmod, ceil, floor = KEYS[1], math.fmod, math.ceil, math.floor

    local function div(a, b) return (a - fmod(a, b)) / b end
    local function up(a, b) local r = fmod(a, b); if r == 0 then return a / b end; return (a - r) / b + 1 end

    -- What is kept: the plan under which the numbers count, the key's own plan (zeros: none), the numbers.
    local kept, f = nil, {}
    if alg == 'l' then kept = redis.call('LINDEX', key, 0) else kept = redis.call('GET', key) end
    if kept then for word in string.gmatch(kept, '%S+') do f[#f + 1] = tonumber(word) end end
    local oc, op_, ob = f[1], f[2], f[3]
    local own = { f[4] or 0, f[5] or 0, f[6] or 0 }
    local a, b, c = f[7] or 0, f[8] or 0, f[9] or 0
    if op == 'set' then own = { count, period, burst } elseif not given and own[1] > 0 then
      count, period, burst = own[1], own[2], own[3]
    end
    local moved = kept and (oc ~= count or op_ ~= period or ob ~= burst)
    local used, limit, remaining, reset, retry, delay = 0, 0, 0, 0, 0, 0

    local function save(idle)
      local text = string.format('%.0f %.0f %.0f %.0f %.0f %.0f %.0f %.0f %.0f',
        count, period, burst, own[1], own[2], own[3], a, b, c)
      local ttl = ceil(idle / 1000) + keep + 1
      if alg == 'l' then
        if kept then redis.call('LSET', key, 0, text) else redis.call('LPUSH', key, text) end
        redis.call('PEXPIRE', key, ttl)
      else
        redis.call('SET', key, text, 'PX', ttl)
      end
    end

    -- How much of `want` fits, `cost` at least; nil: not even that.
    local function grant(free)
      if cost > free then return nil end
      return math.min(math.max(want, cost), free)
    end

    local granted
    if alg == 'b' or alg == 's' then
      local function units(n, p) local x, y = n, p; while y > 0 do x, y = y, fmod(x, y) end; return p / x, n / x end
      local token, back = units(count, period)
      local capacity, debt = burst * token, a
      -- A clock that went back gives nothing back.
      local elapsed = math.max(0, now - b)
      if moved then
        local t, k = units(oc, op_)
        debt = math.max(0, debt - elapsed * k)
        if debt > 0 then debt = math.min(capacity, ceil(debt / (ob * t) * capacity) + 1) end
      else
        debt = math.max(0, debt - elapsed * back)
      end
      limit = burst
      local before = debt
      if op == 'refund' then debt = math.max(0, debt - cost * token)
      else
        if cost <= burst then granted = grant(div(capacity - debt, token)) end
        if granted == nil then
          retry = -1
          if cost <= burst then retry = up(debt + cost * token - capacity, back) end
        elseif op == 'take' then
          debt = debt + granted * token
        end
      end
      remaining, reset = div(capacity - debt, token), up(debt, back)
      if alg == 's' then delay = up(before, back) end
      a, b = debt, now
      if (op == 'take' and granted and granted > 0) or (op == 'refund' and kept) or op == 'set' then save(reset) end
    elseif alg == 'i' then
      local start, used = now - fmod(now, period), a
      if moved then
        used = math.max(0, used - math.max(0, div(now - fmod(now, op_) - b, op_)) * oc)
        used = math.min(burst, ceil(used * burst / ob))
      else
        used = math.max(0, used - math.max(0, (start - b) / period) * count)
      end
      limit = burst
      local function after(tokens) if tokens <= 0 then return 0 end; return start + up(tokens, count) * period - now end
      if op == 'refund' then used = math.max(0, used - cost)
      else
        granted = grant(burst - used)
        if granted == nil then
          retry = -1
          if cost <= burst then retry = after(used + cost - burst) end
        elseif op == 'take' then
          used = used + granted
        end
      end
      remaining, reset = burst - used, after(used)
      a, b = used, start
      if (op == 'take' and granted and granted > 0) or (op == 'refund' and kept) or op == 'set' then save(reset) end
    elseif alg == 'f' or alg == 'c' then
      -- A clock that went back stays in the window that it knew.
      if b > now then now = b end
      -- Products stay below 2^53: longer periods are counted in coarser steps, against the caller.
      local step = math.max(1, ceil(count * period / 4503599627370496))
      local start = now - fmod(now, period)
      local function roll(start, period)
        if b == start then return a, c end
        if b + period == start then return 0, a end
        return 0, 0
      end
      local function estimate(used, before, start, period)
        if alg == 'f' or before == 0 then return used end
        local s = math.max(1, ceil(before * period / 4503599627370496))
        return used + up(before * up(start + period - now, s), math.max(1, div(period, s)))
      end
      local used, before = roll(start, period)
      if moved then
        local ostart = now - fmod(now, op_)
        used, before = roll(ostart, op_)
        if op_ == period then
          used, before = ceil(used * count / oc), ceil(before * count / oc)
        else
          used, before = ceil(estimate(used, before, ostart, op_) * count / oc), 0
        end
      end
      if alg == 'f' then before = 0 end
      limit = count
      -- The age at which a window leaves `room` when the one before it took `before`.
      local function age(room, before)
        if before <= room then return 0 end
        return period - div(room * div(period, step), before) * step
      end
      if op == 'refund' then used = math.max(0, used - cost)
      else
        granted = grant(math.max(0, count - estimate(used, before, start, period)))
        if granted == nil then
          if cost > count then retry = -1
          elseif alg == 'f' then retry = start + period - now
          elseif used + cost <= count then retry = start + age(count - used - cost, before) - now
          else retry = start + period + age(count - cost, used) - now end
          if retry == 0 then retry = 1 end
        elseif op == 'take' then
          used = used + granted
        end
      end
      remaining = math.max(0, count - estimate(used, before, start, period))
      if used > 0 then
        reset = start + period - now
        if alg == 'c' then reset = reset + period end
      elseif before > 0 then reset = start + period - now end
      a, b, c = used, start, before
      if (op == 'take' and granted and granted > 0) or (op == 'refund' and kept) or op == 'set' then save(reset) end
    else
      -- A list: what is kept, then "time tokens" of each take, the oldest first.
      local used = a
      local function entry(index)
        local text = redis.call('LINDEX', key, index)
        if not text then return nil end
        local at, tokens = string.match(text, '(%S+) (%S+)')
        return tonumber(at), tonumber(tokens)
      end
      if moved then
        local all, seen, total = redis.call('LRANGE', key, 1, -1), 0, 0
        redis.call('LTRIM', key, 0, 0)
        for _, text in ipairs(all) do
          local at, tokens = string.match(text, '(%S+) (%S+)')
          at, tokens = tonumber(at), tonumber(tokens)
          if at + op_ > now then
            seen = seen + tokens
            local to = ceil(seen * count / oc)
            local left = math.min(period, ceil((at + op_ - now) * (period / op_)))
            if to > total then
              redis.call('RPUSH', key, string.format('%.0f %.0f', now + left - period, to - total))
              total = to
            end
          end
        end
        used = total
      end
      -- Entry 1 is the oldest; entry 0 stays in its place by being taken off and put back.
      if kept and used > 0 then
        local head, first, gone = redis.call('LPOP', key), true, 0
        while true do
          local at, tokens = entry(0)
          if not at or at + period > now then break end
          redis.call('LPOP', key)
          used = used - tokens
        end
        redis.call('LPUSH', key, head)
      end
      limit = count
      if op == 'refund' then
        local left = math.min(cost, used)
        used = used - left
        while left > 0 do
          local at, tokens = entry(-1)
          if tokens > left then
            redis.call('LSET', key, -1, string.format('%.0f %.0f', at, tokens - left))
            left = 0
          else
            redis.call('RPOP', key)
            left = left - tokens
          end
        end
      else
        granted = grant(math.max(0, count - used))
        if granted == nil then
          retry = -1
          if cost <= count then
            local needed, index = used + cost - count, 1
            while needed > 0 do
              local at, tokens = entry(index)
              needed, index, retry = needed - tokens, index + 1, at + period - now
            end
          end
        elseif op == 'take' and granted > 0 then
          used = used + granted
        end
      end
      local pushed = op == 'take' and granted and granted > 0
      remaining = math.max(0, count - used)
      if pushed then reset = period
      elseif used > 0 then local at = entry(-1); reset = at + period - now end
      a, b, c = used, 0, 0
      if pushed or kept or op == 'set' then save(reset); kept = true end
      if pushed then redis.call('RPUSH', key, string.format('%.0f %.0f', now, granted)) end
    end
    return { granted or -1, limit, remaining, reset, retry, delay }
    """#
}
