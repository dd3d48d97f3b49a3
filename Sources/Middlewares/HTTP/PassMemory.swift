internal import Pipeline
internal import Synchronization

/// A yes of the service that a ``ForwardAuth`` asks.
struct Pass: Sendable {
  let user: AuthenticatedUser
  /// Those that the request carries on.
  let fields: HeaderFields
}

/// The yeses of the last moments, by everything that the service was shown: equal questions have equal answers.
final class PassMemory: Sendable {
  private struct Entry {
    let pass: Pass
    let expires: Instant
  }

  private static let capacity = 4096
  private let entries = Mutex<[PasswordDigest: Entry]>([:])

  /// A digest that nobody can make two questions for: the fields hold what clients send.
  static func key(_ question: HeaderFields) -> PasswordDigest {
    var hash = SHA256()
    // Lines end in CR LF, which no value holds, so two questions never run into one text.
    question.withWireBytes { hash.update($0) }
    return PasswordDigest(hash.finish())
  }

  func pass(for key: PasswordDigest, now: Instant) -> Pass? {
    entries.withLock { entries in
      guard let entry = entries[key], now < entry.expires else { return nil }
      return entry.pass
    }
  }

  func remember(_ pass: Pass, for key: PasswordDigest, until expires: Instant, now: Instant) {
    entries.withLock { entries in
      if entries.count >= Self.capacity {
        entries = entries.filter { now < $0.value.expires }
        // All in use: who is dropped costs one question more.
        if entries.count >= Self.capacity, let some = entries.keys.first { entries[some] = nil }
      }
      entries[key] = Entry(pass: pass, expires: expires)
    }
  }

  func forgetExpired(now: Instant) { entries.withLock { $0 = $0.filter { now < $0.value.expires } } }
}
