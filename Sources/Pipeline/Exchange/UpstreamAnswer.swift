// The moment in which an upstream answers: a tunnel is connected, or the head of an HTTP response is there. Long before the
// exchange is over, it is known how the upstream does.

/// The destination's side: whoever tries an upstream wants to know when it answers, and not only when all is over; a tunnel may
/// live for days.
package protocol UpstreamWatch: AnyObject, Sendable {
  /// Called at most once a try, on the exchange's loop.
  func upstreamAnswered(_ exchange: Exchange)
}

/// The side of the elements above: is told when an upstream answers, whichever it is.
package protocol AnswerObserver: AnyObject, Sendable {
  /// Called on the exchange's loop, before anything of the answer reaches the client; on HTTP before `respond`.
  ///
  /// - Parameters:
  ///   - start: when the watch began.
  ///   - token: what it began with.
  /// - Returns: false to be told of the next attempt's answer, too.
  func upstreamAnswered(_ exchange: Exchange, since start: Instant, token: UInt64) -> Bool
}

struct AnswerWatch {
  let observer: any AnswerObserver
  let start: Instant
  let token: UInt64
  var isTold = false
}

struct AnswerLimit {
  /// The deadline while there is no answer.
  let limit: Instant
  /// The one that holds afterwards.
  let outer: Instant
}

extension Exchange {
  /// Begins to wait for the answer; ended by ``endAnswerWatch()``, in the opposite order.
  package final func watchAnswer(_ observer: any AnswerObserver, token: UInt64) {
    answerWatches.append(AnswerWatch(observer: observer, start: now, token: token))
  }

  /// - Returns: whether the observer has heard of an answer and was content with it.
  package final func endAnswerWatch() -> Bool { answerWatches.removeLast().isTold }

  /// Transport: the upstream has answered. What is known of the answer has been stored before.
  package final func noteUpstreamAnswer(at instant: Instant) {
    upstreamAnsweredAt = instant
    upstreamWatch?.upstreamAnswered(self)
    if let answerLimit {
      // Another limit that is nearer is not ours to lift.
      if runtime.deadline == answerLimit.limit { runtime.deadline = answerLimit.outer }
      self.answerLimit = nil
    }
    // A plain index: an observer may look at the exchange.
    var index = answerWatches.count
    while index > 0 {
      index -= 1
      let watch = answerWatches[index]
      if watch.isTold { continue }
      if watch.observer.upstreamAnswered(self, since: watch.start, token: watch.token) {
        answerWatches[index].isTold = true
      }
    }
  }

  /// Runs `body` under a deadline that holds until the upstream has answered: what is relayed afterwards, a tunnel or a long
  /// response, has the time of the deadline around it.
  ///
  /// - Throws: `Rejection(.deadlineExceeded)` when this very limit passed; an outer one passes through.
  public final func withDeadline(
    untilAnswered limit: Duration, _ body: () async throws -> Summary
  ) async throws -> Summary {
    let outer = runtime.deadline
    let mine = runtime.now + limit
    guard mine < outer else { return try await body() }
    let around = answerLimit
    let lifted = if let around, around.limit == outer { around.outer } else { outer }
    answerLimit = AnswerLimit(limit: mine, outer: lifted)
    runtime.deadline = mine
    defer {
      runtime.deadline = outer
      answerLimit = around
    }
    do {
      return try await body()
    } catch let exceeded as DeadlineExceeded where exceeded.deadline == mine {
      throw Rejection(.deadlineExceeded, detail: "no answer after \(limit)", cause: exceeded)
    }
  }

  /// Whether an error that ended an attempt is the upstream's doing, so that it speaks against the upstream: it could not be
  /// reached, broke the connection off, did not keep to its protocol, or let a deadline pass without an answer.
  ///
  /// A status is no error. An attempt that an element gave up because of its status (``UnwantedStatus``) is judged by
  /// `upstreamStatus`.
  package final func isFaultOfUpstream(_ error: any Error) -> Bool {
    let rejection = Rejection(error)
    switch rejection.kind {
    case .nameNotFound, .connectionRefused, .networkUnreachable, .hostUnreachable, .connectTimeout, .upstreamReset,
      .upstreamProtocol:
      return rejection.source == .upstream && !(rejection.cause is UnwantedStatus)
    case .idleTimeout: return rejection.source == .upstream
    // Without an address nobody has been asked yet: the time went by in a queue of ours.
    case .deadlineExceeded: return upstreamAnsweredAt == nil && upstreamAddress != nil
    case .credentialsRequired, .credentialsInvalid, .forbidden, .rateLimited, .quotaExhausted, .overloaded, .draining,
      .internalError, .malformed, .handshakeTimeout, .unsupportedCommand, .unsupportedAddressType, .noRoute,
      .methodNotAllowed, .requestLineTooLong, .headTooLarge, .bodyTooLarge, .unsupportedVersion, .loopDetected,
      .lifetimeExceeded, .clientGone:
      return false
    }
  }
}

/// Why an element gave an answer of an upstream up: the cause of the rejection that it throws.
package struct UnwantedStatus: Error, Hashable {
  package let status: Int
  package init(_ status: Int) { self.status = status }
}
