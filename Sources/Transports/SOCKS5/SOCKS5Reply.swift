internal import Pipeline

/// The REP field of a reply (RFC 1928, 6).
enum SOCKS5Reply: UInt8, Sendable, CaseIterable {
  case succeeded = 0
  case generalFailure = 1
  /// "Connection not allowed by ruleset".
  case notAllowed = 2
  case networkUnreachable = 3
  case hostUnreachable = 4
  case connectionRefused = 5
  /// The RFC means the TTL of a datagram; clients print it as a timeout, and nothing else in the list says that.
  case expired = 6
  case commandNotSupported = 7
  case addressTypeNotSupported = 8

  /// What a client is told that already sent its request, or whose request is read in order to tell it. The one place
  /// where a kind becomes a REP; `Docs/Errors.md` has it as a table.
  init(for kind: Rejection.Kind) {
    switch kind {
    // We decided against it; no REP tells "not now" from "never".
    case .credentialsRequired, .credentialsInvalid, .forbidden, .rateLimited, .quotaExhausted: self = .notAllowed
    // Falling out of every route is our ruleset's word, too.
    case .noRoute, .methodNotAllowed: self = .notAllowed
    // Kinds of HTTP, which an element of a common chain may use: it is our ruleset's word.
    case .requestLineTooLong, .headTooLarge, .bodyTooLarge, .unsupportedVersion, .loopDetected: self = .notAllowed
    case .networkUnreachable: self = .networkUnreachable
    // To a client that let us resolve, a name without an address is a host that cannot be reached.
    case .hostUnreachable, .nameNotFound: self = .hostUnreachable
    case .connectionRefused: self = .connectionRefused
    case .connectTimeout, .deadlineExceeded: self = .expired
    case .unsupportedCommand: self = .commandNotSupported
    case .unsupportedAddressType: self = .addressTypeNotSupported
    case .overloaded, .draining, .internalError, .malformed, .handshakeTimeout: self = .generalFailure
    // These end an open tunnel; before that they are no more than "it failed".
    case .idleTimeout, .lifetimeExceeded, .upstreamReset, .upstreamProtocol, .clientGone: self = .generalFailure
    }
  }
}

extension Rejection.Kind {
  /// Whether a client that is refused for this reason is still given its time to send the rest of its handshake, so that it
  /// gets its answer in the order that it expects. Otherwise what can be said is said at once.
  var leavesTimeToAnswer: Bool {
    switch self {
    // Nobody is there to send anything.
    case .clientGone: false
    // The time is over: the client's, or ours.
    case .handshakeTimeout, .draining: false
    // Where its next message begins is not known any more.
    case .malformed, .unsupportedCommand, .unsupportedAddressType: false
    case .credentialsRequired, .credentialsInvalid, .forbidden, .rateLimited, .quotaExhausted, .overloaded,
      .internalError, .noRoute, .methodNotAllowed, .requestLineTooLong, .headTooLarge, .bodyTooLarge,
      .unsupportedVersion, .loopDetected, .nameNotFound, .connectionRefused, .networkUnreachable,
      .hostUnreachable, .connectTimeout, .deadlineExceeded, .idleTimeout, .lifetimeExceeded, .upstreamReset,
      .upstreamProtocol:
      true
    }
  }
}
