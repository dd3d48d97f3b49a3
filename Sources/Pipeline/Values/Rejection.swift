/// Why an exchange did not go the way its client asked: the one error type of the chain.
///
/// It says what happened (`kind`), whose doing it is (`source`) and whether trying again may help (`retry`). Each
/// transport maps `kind` to its wire in one exhaustive switch; `detail` and `cause` are for the log and never reach a client.
public struct Rejection: Error, Sendable {
  /// What happened. The list is closed so that every transport's mapping is checked by the compiler.
  public enum Kind: String, Sendable, Hashable, CaseIterable {
    // The client may not.
    /// No credentials were given, and they are needed.
    case credentialsRequired
    /// Credentials were given and are wrong, or the account is blocked.
    case credentialsInvalid
    /// A rule forbids it.
    case forbidden
    /// Too many in too short a time.
    case rateLimited
    /// A quota is used up.
    case quotaExhausted

    // We cannot now.
    /// A queue or pool of ours is full.
    case overloaded
    /// We are shutting down.
    case draining
    /// Our own fault.
    case internalError

    // The request.
    /// The client's bytes do not follow the protocol.
    case malformed
    /// The client did not finish its handshake in time.
    case handshakeTimeout
    /// A command of the protocol that we do not offer (BIND, UDP ASSOCIATE).
    case unsupportedCommand
    /// An address type that we do not know.
    case unsupportedAddressType
    /// No route matches.
    case noRoute
    /// A route matches, but not with this method.
    case methodNotAllowed
    /// The request line is longer than the listener takes.
    case requestLineTooLong
    /// The head, or the trailers, are longer than the listener takes, or have too many fields.
    case headTooLarge
    /// The body is longer than the listener takes.
    case bodyTooLarge
    /// A version of the protocol that we do not speak.
    case unsupportedVersion
    /// The request has come through this proxy before, or through too many.
    case loopDetected

    // The way to the upstream.
    /// The name does not resolve.
    case nameNotFound
    /// The upstream refused the connection.
    case connectionRefused
    case networkUnreachable
    case hostUnreachable
    /// The connection was not made in time.
    case connectTimeout

    // The exchange.
    /// A deadline of the chain passed.
    case deadlineExceeded
    /// Nothing moved for too long.
    case idleTimeout
    /// The exchange lived as long as it may.
    case lifetimeExceeded
    /// The upstream reset the connection.
    case upstreamReset
    /// The upstream's bytes do not follow its protocol.
    case upstreamProtocol
    /// The client went away.
    case clientGone
  }

  /// Whose doing it is.
  public enum Source: String, Sendable, Hashable { case client, upstream, proxy }

  /// Whether the same exchange may be tried again, as far as the thrower knows.
  public enum RetryVerdict: Sendable, Hashable {
    /// Nothing of it reached an upstream: trying again is safe.
    case safe
    /// It may have reached the upstream: trying again is safe only for what is idempotent.
    case idempotentOnly
    /// It would end the same way.
    case pointless
  }

  public var kind: Kind
  public var source: Source
  public var retry: RetryVerdict
  /// How long the client should wait, where that is known.
  public var retryAfter: Duration?
  /// For the log. Never sent to a client; must hold no secret.
  public var detail: String
  /// The error that led here.
  public var cause: (any Error)?

  /// Creates a rejection; source and retry verdict follow from the kind unless given.
  public init(
    _ kind: Kind, source: Source? = nil, retry: RetryVerdict? = nil, retryAfter: Duration? = nil, detail: String = "",
    cause: (any Error)? = nil
  ) {
    self.kind = kind
    self.source = source ?? kind.usualSource
    self.retry = retry ?? kind.usualRetry
    self.retryAfter = retryAfter
    self.detail = detail
    self.cause = cause
  }

  /// The rejection that stands for any error: itself, or `internalError` with the error as its cause.
  public init(_ error: any Error) {
    switch error {
    case let rejection as Rejection: self = rejection
    case let exceeded as DeadlineExceeded: self.init(.deadlineExceeded, cause: exceeded)
    case is CancellationError: self.init(.draining, cause: error)
    default: self.init(.internalError, detail: String(describing: error), cause: error)
    }
  }
}

extension Rejection.Kind {
  /// Whose doing it usually is.
  public var usualSource: Rejection.Source {
    switch self {
    case .credentialsRequired, .credentialsInvalid, .forbidden, .rateLimited, .quotaExhausted, .malformed,
      .handshakeTimeout, .unsupportedCommand, .unsupportedAddressType, .noRoute, .methodNotAllowed, .requestLineTooLong,
      .headTooLarge, .bodyTooLarge, .unsupportedVersion, .loopDetected, .clientGone:
      .client
    case .overloaded, .draining, .internalError, .deadlineExceeded, .idleTimeout, .lifetimeExceeded: .proxy
    case .nameNotFound, .connectionRefused, .networkUnreachable, .hostUnreachable, .connectTimeout, .upstreamReset,
      .upstreamProtocol:
      .upstream
    }
  }

  /// Whether trying again may usually help.
  public var usualRetry: Rejection.RetryVerdict {
    switch self {
    case .connectionRefused, .networkUnreachable, .hostUnreachable, .connectTimeout, .overloaded: .safe
    case .upstreamReset, .upstreamProtocol, .deadlineExceeded: .idempotentOnly
    case .credentialsRequired, .credentialsInvalid, .forbidden, .rateLimited, .quotaExhausted, .draining,
      .internalError, .malformed, .handshakeTimeout, .unsupportedCommand, .unsupportedAddressType, .noRoute,
      .methodNotAllowed, .requestLineTooLong, .headTooLarge, .bodyTooLarge, .unsupportedVersion, .loopDetected,
      .nameNotFound, .idleTimeout, .lifetimeExceeded, .clientGone:
      .pointless
    }
  }
}

extension Rejection: CustomStringConvertible {
  /// For the log: kind and detail.
  public var description: String { detail.isEmpty ? kind.rawValue : "\(kind.rawValue): \(detail)" }
}

/// The engine's error when a deadline passes. The scope that set this very deadline turns it into
/// `Rejection(.deadlineExceeded)`; every other scope lets it pass.
public struct DeadlineExceeded: Error, Hashable {
  public let deadline: Instant
  public init(deadline: Instant) { self.deadline = deadline }
}
