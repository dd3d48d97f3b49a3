import Middlewares
import Pipeline
import RedisStores

/// Where several processes count the same quotas together: `--cache redis://…`.
struct CacheSettings {
  static let flags: [Flag] = [
    .value(
      "cache", "URL",
      "a Redis in which several processes count quotas together: redis://host:port/db, redis-cluster://h1:p1,h2:p2, unix:///path"
    ),
    .value(
      "cache-trouble", "alone|refuse",
      "while that Redis is away: go on by what each process knows, or refuse everybody", default: "alone"),
  ]

  /// `nil`: each process counts its own.
  let cache: (any Cache)?
  let fallback: QuotaFallback

  /// - Throws: ``SettingsError``; it never holds a password.
  init(_ flags: ParsedFlags) throws {
    fallback =
      try flags.parsed("cache-trouble", allowed: "alone or refuse") { text in
        switch text {
        case "alone": .countAlone
        case "refuse": .refuse
        default: nil
        }
      } ?? .countAlone
    guard let url = flags.text("cache") else {
      if flags.has("cache-trouble") {
        throw SettingsError("--cache-trouble needs --cache; name the Redis, or leave it out")
      }
      cache = nil
      return
    }
    do {
      cache = RedisCache(try RedisClient(url), options: RedisCacheOptions(prefix: "sluice-quota"))
    } catch {
      // The value itself may hold a password.
      throw SettingsError("--cache: \(error)")
    }
  }
}
