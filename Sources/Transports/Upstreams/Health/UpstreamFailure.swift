internal import Pipeline

/// What went wrong at an upstream: a bounded set, for counts and labels.
public enum UpstreamFailure: String, Sendable, Hashable, CaseIterable {
  /// The name of the backend does not resolve.
  case name
  /// Refused, unreachable, or not connected in time.
  case connect
  /// No answer before a deadline.
  case timeout
  /// Reset, or closed without an answer.
  case reset
  /// Its bytes do not follow the protocol.
  case malformed
  /// A status that counts as a failure.
  case status
  /// The answer broke off, or stood still.
  case cut

  var sentence: String {
    switch self {
    case .name: "its name does not resolve"
    case .connect: "no connection"
    case .timeout: "no answer in time"
    case .reset: "reset without an answer"
    case .malformed: "an answer that breaks the protocol"
    case .status: "a status that counts as a failure"
    case .cut: "an answer that broke off"
    }
  }

  /// Whether the end of an exchange is its upstream's fault, and which; `nil`: it is not.
  ///
  /// A status is judged when it comes; here are those that did not answer, or not to the end.
  init?(_ error: any Error, on exchange: Exchange) {
    let hasAnswered = exchange.upstreamAnsweredAt != nil
    if let rejection = error as? Rejection {
      self.init(rejection, hasAnswered, on: exchange)
    } else if error is DeadlineExceeded, !hasAnswered {
      self = .timeout
    } else {
      return nil
    }
  }

  private init?(_ rejection: Rejection, _ hasAnswered: Bool, on exchange: Exchange) {
    switch rejection.kind {
    case .nameNotFound: self = .name
    case .connectionRefused, .networkUnreachable, .hostUnreachable, .connectTimeout: self = .connect
    case .upstreamReset, .upstreamProtocol:
      // What this proxy could not do, as to send a body again, says nothing of a backend.
      guard rejection.source == .upstream else { return nil }
      if !hasAnswered {
        self = rejection.kind == .upstreamReset ? .reset : .malformed
      } else if exchange is HTTPExchange {
        // Before the commit it was an element above that did not want this answer; its status has been judged.
        guard exchange.isCommitted else { return nil }
        self = .cut
      } else {
        // A tunnel that has moved something ends as its two ends want; a reset is one of their ways.
        guard !exchange.isCommitted else { return nil }
        self = .reset
      }
    case .deadlineExceeded:
      guard !hasAnswered else { return nil }
      self = .timeout
    case .idleTimeout:
      guard rejection.source == .upstream, exchange is HTTPExchange else { return nil }
      self = .cut
    case .credentialsRequired, .credentialsInvalid, .forbidden, .rateLimited, .quotaExhausted, .overloaded, .draining,
      .internalError, .malformed, .handshakeTimeout, .unsupportedCommand, .unsupportedAddressType, .noRoute,
      .methodNotAllowed, .requestLineTooLong, .headTooLarge, .bodyTooLarge, .unsupportedVersion, .loopDetected,
      .lifetimeExceeded, .clientGone:
      return nil
    }
  }
}
