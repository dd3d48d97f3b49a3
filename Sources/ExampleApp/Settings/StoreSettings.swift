import Middlewares
import Pipeline
import RedisStores

/// Where tokens are counted: `--store URL…`, `REDIS_ADDR`, or in the memory of this process.
struct StoreSettings {
  static let flags: [Flag] = [
    .list(
      "store", "URL",
      "a Redis: redis://host:port/db, redis-cluster://h1:p1,h2:p2, unix:///path or host:port; given more than once the "
        + "tokens are spread over them (env REDIS_ADDR; default: in memory)")
  ]

  let cache: any Cache
  let description: String

  /// - Throws: ``SettingsError``; it never holds a password.
  init(_ flags: ParsedFlags, _ environment: Environment) throws {
    var place = "--store"
    var urls = flags.all("store")
    if urls.isEmpty, let text = environment.value("REDIS_ADDR"), !text.isEmpty {
      place = "REDIS_ADDR"
      urls = [text]
    }
    let stores = try urls.map { try Self.store($0, place) }
    if stores.isEmpty {
      cache = MemoryCache()
      description = "memory"
      return
    }
    description = stores.map(\.node.name).joined(separator: ", ")
    if stores.count == 1 {
      cache = stores[0].cache
      return
    }
    if let problem = Rendezvous.problems(with: stores.map(\.node)).first { throw SettingsError("\(place): \(problem)") }
    cache = PartitionedCache(stores)
  }

  private static func store(_ text: String, _ place: String) throws -> PartitionedCache.Part {
    let isAddress = !text.contains("://") && Endpoint(text).map { $0.port != 0 } ?? false
    do {
      let client = try RedisClient(isAddress ? "redis://\(text)" : text)
      return PartitionedCache.Part(
        "\(client.url)", RedisCache(client, options: RedisCacheOptions(prefix: "sluice-tracker")))
    } catch {
      // The value itself may hold a password.
      throw SettingsError("\(place): \(error)")
    }
  }
}
