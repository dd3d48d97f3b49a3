import Middlewares
import Pipeline
import RedisStores

/// A limit for each client address, in this process or shared with others: `--rate-limit 600/m --limit-store redis://…`.
struct LimitSettings {
  static let flags: [Flag] = [
    .value("rate-limit", "N/UNIT", "exchanges that one client address may begin: 100/s, 600/m, 1000/h or 10000/d"),
    .value(
      "limit-store", "URL",
      "a Redis in which several processes share that limit: redis://host:port/db, redis-cluster://h1:p1,h2:p2, unix:///path"
    ),
    .value(
      "limit-trouble", "open|closed|local:N",
      "while that Redis is away: admit all, refuse all, or limit here as one of N processes", default: "closed"),
  ]

  /// Limits in the memory of this process.
  let own: Rate?
  /// Limits in Redis.
  let shared: RedisLimitStore<TokenBucketAlgorithm>?

  init(_ flags: ParsedFlags) throws {
    let rate = try flags.parsed("rate-limit", allowed: "1 to 1000000000 per s, m, h or d, such as 600/m", Self.readRate)
    let trouble = try flags.parsed(
      "limit-trouble", allowed: "open, closed or local:N with 1 to 10000", Self.readTrouble)
    guard let url = flags.text("limit-store") else {
      if flags.has("limit-trouble") {
        throw SettingsError("--limit-trouble needs --limit-store; name the Redis, or leave it out")
      }
      own = rate
      shared = nil
      return
    }
    guard let rate else {
      throw SettingsError("--limit-store needs --rate-limit; say how much, such as --rate-limit 600/m")
    }
    own = nil
    let client: RedisClient
    do {
      client = try RedisClient(url)
    } catch {
      // The value itself may hold a password.
      throw SettingsError("--limit-store: \(error)")
    }
    let options = RedisLimitOptions(whenInTrouble: trouble ?? .failClosed)
    shared = RedisLimitStore(client, "rate-limit", rate, algorithm: .tokenBucket, options: options)
    if let problem = shared?.problems.first { throw SettingsError("--rate-limit: \(problem)") }
  }

  private static func readRate(_ text: String) -> Rate? {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2, let count = readInt(String(parts[0]), in: 1...1_000_000_000) else { return nil }
    let rate: Rate
    switch parts[1] {
    case "s": rate = .perSecond(count)
    case "m": rate = .perMinute(count)
    case "h": rate = .perHour(count)
    case "d": rate = .per(.seconds(86_400), count)
    default: return nil
    }
    return rate
  }

  private static func readTrouble(_ text: String) -> RedisTrouble? {
    switch text {
    case "open": return .failOpen
    case "closed": return .failClosed
    default:
      guard text.hasPrefix("local:") else { return nil }
      return readInt(String(text.dropFirst(6)), in: 1...10_000).map { .local(processes: $0) }
    }
  }
}
