internal import Pipeline

/// How a connection ends that has no words for a refusal: in order, or with a reset.
enum TCPClose: Sendable {
  /// FIN. (The kernel makes it a reset if bytes of the client lie unread.)
  case finish
  /// RST.
  case reset

  /// The one place where a kind becomes a close; `Docs/Errors.md` has it as a table.
  ///
  /// - Parameter isCommitted: whether the client has seen bytes of the upstream. Many protocols take a FIN for "that was
  ///   all", so what was cut short ends in a reset, whoever cut it.
  init(for kind: Rejection.Kind, isCommitted: Bool) {
    switch kind {
    // Nobody is there: only the descriptor is to be given back.
    case .clientGone: self = .reset
    // Nothing was under way, so nothing is cut short.
    case .idleTimeout: self = .finish
    // We will not serve this client: an orderly end without a byte.
    case .credentialsRequired, .credentialsInvalid, .forbidden, .rateLimited, .quotaExhausted, .draining, .malformed,
      .handshakeTimeout, .unsupportedCommand, .unsupportedAddressType, .noRoute, .methodNotAllowed, .requestLineTooLong,
      .headTooLarge, .bodyTooLarge, .unsupportedVersion, .loopDetected, .lifetimeExceeded:
      self = isCommitted ? .reset : .finish
    // It cannot be done: what the client would see if it were connected to the upstream itself.
    case .overloaded, .internalError, .nameNotFound, .connectionRefused, .networkUnreachable, .hostUnreachable,
      .connectTimeout, .deadlineExceeded, .upstreamReset, .upstreamProtocol:
      self = .reset
    }
  }
}

extension ByteStream {
  /// Closes in the way that was decided.
  func end(_ close: TCPClose) {
    switch close {
    case .finish: self.close()
    case .reset: abort()
    }
  }
}
