/// How HTTP tells its client of a rejection: the one place where a kind becomes a status (RFC 9110, 15).
public struct HTTPRefusal: Sendable {
  private let rejection: Rejection

  public init(_ rejection: Rejection) { self.rejection = rejection }

  /// The status; 407 instead of 401 where the client speaks to a forward proxy (RFC 9110, 11.7).
  public func status(for request: HTTPRequestHead) -> Int {
    let status = Self.status(of: rejection.kind)
    return status == 401 && request.isForProxy ? 407 : status
  }

  /// Whether the connection carries no further request: what the client sent cannot be told from the next request, or
  /// it is of no use to wait for one.
  public var closesConnection: Bool {
    switch rejection.kind {
    case .malformed, .handshakeTimeout, .draining, .clientGone, .internalError, .lifetimeExceeded, .idleTimeout,
      .requestLineTooLong, .headTooLarge, .bodyTooLarge, .unsupportedVersion:
      true
    case .credentialsRequired, .credentialsInvalid, .forbidden, .rateLimited, .quotaExhausted, .overloaded,
      .unsupportedCommand, .unsupportedAddressType, .noRoute, .methodNotAllowed, .nameNotFound, .connectionRefused,
      .networkUnreachable, .hostUnreachable, .connectTimeout, .deadlineExceeded, .upstreamReset, .upstreamProtocol,
      .loopDetected:
      false
    }
  }

  /// The status of a kind, as an origin would send it.
  public static func status(of kind: Rejection.Kind) -> Int {
    switch kind {
    case .malformed, .unsupportedAddressType: 400
    case .credentialsRequired, .credentialsInvalid: 401
    case .forbidden: 403
    case .noRoute: 404
    case .methodNotAllowed: 405
    case .handshakeTimeout: 408
    case .bodyTooLarge: 413
    case .requestLineTooLong: 414
    case .headTooLarge: 431
    case .rateLimited, .quotaExhausted: 429
    case .internalError: 500
    case .unsupportedCommand: 501
    case .nameNotFound, .connectionRefused, .networkUnreachable, .hostUnreachable, .upstreamReset, .upstreamProtocol,
      .loopDetected:
      502
    case .overloaded, .draining: 503
    case .connectTimeout, .deadlineExceeded, .idleTimeout, .lifetimeExceeded: 504
    case .unsupportedVersion: 505
    // Nobody reads it; the log does (the number that nginx made common).
    case .clientGone: 499
    }
  }

  /// The fields that belong to the status.
  func describe(in head: inout HTTPResponseHead, for exchange: HTTPExchange) {
    switch head.status {
    case 401: head.fields.set("www-authenticate", exchange.challenge)
    case 403:
      if let challenge = exchange.forbiddenChallenge {
        head.fields.set(exchange.request.isForProxy ? "proxy-authenticate" : "www-authenticate", challenge)
      }
    case 407: head.fields.set("proxy-authenticate", exchange.challenge)
    case 405: head.fields.set("allow", exchange.annotations.allowedMethods.joined(separator: ", "))
    default: break
    }
    if let wait = rejection.retryAfter {
      // Rounded up, and never 0: a client that comes back too early is refused again.
      head.fields.set("retry-after", max(1, wait.secondsRoundedUp))
    }
    if closesConnection { head.fields.set("connection", "close") }
  }
}
