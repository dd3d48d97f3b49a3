import Middlewares
import Pipeline
import Synchronization

/// Takes lines and forgets them: what is measured is the line, not the disk.
final class NoSink: LogSink {
  private let bytes = Atomic<Int>(0)

  func append(_ line: RawSpan, shard: Int) -> Bool {
    bytes.store(bytes.load(ordering: .relaxed) &+ line.byteCount, ordering: .relaxed)
    return true
  }

  var dropped: Int { 0 }
}

/// Each of the five middlewares of the relay commands alone, and all of them: what "features on" costs a connection. Beside
/// the usual limit the one that can do more.
func realChains() -> [(name: String, layers: Int, make: () throws -> any Serving<TCPExchange>)] {
  [
    (
      "AccessLog", 1,
      {
        let listener = Listener(.tcp, on: ":1") {
          AccessLog(.text, to: NoSink())
        } to: {
          Leaf()
        }
        return try Service(listener, shards: 1)
      }
    ),
    (
      "UsageTracking", 1,
      {
        let listener = Listener(.tcp, on: ":1") {
          UsageTracking()
        } to: {
          Leaf()
        }
        return try Service(listener, shards: 1)
      }
    ),
    (
      "UsageQuota(.requests)", 1,
      {
        let listener = Listener(.tcp, on: ":1") {
          UsageQuota(.requests(1_000_000_000_000, per: .day), per: .optionalIdentity())
        } to: {
          Leaf()
        }
        return try Service(listener, shards: 1)
      }
    ),
    (
      "UsageQuota(.bytes)", 1,
      {
        let listener = Listener(.tcp, on: ":1") {
          UsageQuota(.bytes(1_000_000_000_000_000, per: .month), per: .optionalIdentity())
        } to: {
          Leaf()
        }
        return try Service(listener, shards: 1)
      }
    ),
    (
      "TokenBucket(.clientAddress)", 1,
      {
        let listener = Listener(.tcp, on: ":1") {
          TokenBucket(.perSecond(1_000_000_000), per: .clientAddress)
        } to: {
          Leaf()
        }
        return try Service(listener, shards: 1)
      }
    ),
    (
      "RateLimit(.clientAddress)", 1,
      {
        let listener = Listener(.tcp, on: ":1") {
          RateLimit(.perSecond(1_000_000_000), per: .clientAddress)
        } to: {
          Leaf()
        }
        return try Service(listener, shards: 1)
      }
    ),
    (
      "Timeout", 1,
      {
        let listener = Listener(.tcp, on: ":1") {
          Timeout(.seconds(30))
        } to: {
          Leaf()
        }
        return try Service(listener, shards: 1)
      }
    ),
    (
      "ConcurrencyLimit", 1,
      {
        let listener = Listener(.tcp, on: ":1") {
          ConcurrencyLimit(1000)
        } to: {
          Leaf()
        }
        return try Service(listener, shards: 1)
      }
    ),
    (
      "all five", 5,
      {
        let listener = Listener(.tcp, on: ":1") {
          AccessLog(.text, to: NoSink())
          UsageTracking()
          TokenBucket(.perSecond(1_000_000_000), per: .clientAddress)
          Timeout(.seconds(30))
          ConcurrencyLimit(1000)
        } to: {
          Leaf()
        }
        return try Service(listener, shards: 1)
      }
    ),
  ]
}
