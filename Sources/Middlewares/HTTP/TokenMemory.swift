internal import Pipeline
internal import Synchronization

/// What a ``BearerAuth`` knows from earlier requests: grants of its store, and who has failed.
final class TokenMemory: Sendable {
  private struct Entry {
    let grant: TokenGrant
    let version: UInt64
    let expires: Instant
  }

  /// More tokens than are in use at once within the minute for which they are remembered.
  private static let capacity = 16_384

  let desk: LoginDesk
  private let entries = Mutex<[TokenDigest: Entry]>([:])

  init(desk: LoginDesk = LoginDesk()) { self.desk = desk }

  var count: Int { entries.withLock { $0.count } }

  func grant(for digest: TokenDigest, _ version: UInt64, now: Instant) -> TokenGrant? {
    entries.withLock { entries in
      guard let entry = entries[digest], entry.version == version, now < entry.expires else { return nil }
      return entry.grant
    }
  }

  func remember(_ grant: TokenGrant, for digest: TokenDigest, _ version: UInt64, until expires: Instant, now: Instant) {
    entries.withLock { entries in
      if entries.count >= Self.capacity {
        entries = entries.filter { now < $0.value.expires && $0.value.version == version }
        // All in use: who is dropped costs one question more.
        if entries.count >= Self.capacity, let some = entries.keys.first { entries[some] = nil }
      }
      entries[digest] = Entry(grant: grant, version: version, expires: expires)
    }
  }

  func forgetExpired(now: Instant) {
    entries.withLock { $0 = $0.filter { now < $0.value.expires } }
  }
}

/// What a store said, carried from its task to the connection's.
final class StoreAnswer: Sendable {
  private struct NoAnswer: Error {}
  private let state = Mutex<Result<TokenGrant?, any Error>>(.failure(NoAnswer()))
  var value: Result<TokenGrant?, any Error> { state.withLock { $0 } }
  func set(_ value: Result<TokenGrant?, any Error>) { state.withLock { $0 = value } }
}

extension TokenGrant {
  /// How long it is still worth something; `nil`: it has expired.
  func timeLeft(_ now: UnixTime) -> Duration? {
    guard let expires else { return .seconds(86_400) }
    guard now < expires else { return nil }
    // Far expiries need no precision, and must not overflow.
    return .seconds(min(expires.seconds - now.seconds, 86_400)) - .nanoseconds(Int64(now.nanoseconds))
      + .nanoseconds(Int64(expires.nanoseconds))
  }
}
