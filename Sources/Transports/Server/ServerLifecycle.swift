/// When a server accepts, drains, cuts and ends: what happens goes in, what is to be done comes out.
struct ServerLifecycle {
  enum Event {
    /// Somebody asked for an orderly stop: a signal, an operator.
    case stop
    /// The time for an orderly stop is over.
    case graceIsOver
    /// No connection is left, but those of operators.
    case empty
    /// No connection of an operator is left.
    case operatorsGone
    /// An operator's last answer took too long.
    case patienceIsOver
    /// The task that runs the server was cancelled.
    case cancelled
  }

  enum Action: Equatable {
    case nothing
    /// Accept no more, start the clock of the grace, and say `empty` when no connection is left.
    case drain
    /// Accept no more, end every connection, and say `empty` when no connection is left.
    case cut
    /// Everything has ended but what operators ask: accept none of them any more, give their last answers a moment, and say
    /// `operatorsGone` when none is left.
    case closeOperators
    /// Everything has ended: stop the engine.
    case finish
  }

  private enum State {
    /// Connections are accepted.
    case serving
    /// No more are accepted; those that live go on.
    case draining
    /// Those that live are being ended.
    case cutting
    /// None is left but those of operators, who get their last answers.
    case closing
    /// None is left.
    case finished
  }

  private var state = State.serving

  mutating func handle(_ event: Event) -> Action {
    switch (state, event) {
    case (.serving, .stop):
      state = .draining
      return .drain
    case (.serving, .cancelled):
      // Whoever cancels waits for the end, not for the clients.
      state = .cutting
      return .cut
    case (.serving, .empty), (.serving, .graceIsOver):
      // The last connection of a quiet hour.
      return .nothing
    case (.draining, .stop), (.draining, .graceIsOver), (.draining, .cancelled):
      // Asked for again, or late: no more patience.
      state = .cutting
      return .cut
    case (.draining, .empty), (.cutting, .empty):
      state = .closing
      return .closeOperators
    case (.closing, .operatorsGone), (.closing, .patienceIsOver), (.closing, .stop), (.closing, .cancelled):
      state = .finished
      return .finish
    case (.cutting, .stop), (.cutting, .graceIsOver), (.cutting, .cancelled):
      // Everything that can be done is being done.
      return .nothing
    case (.closing, .empty), (.closing, .graceIsOver):
      // What had a grace has ended.
      return .nothing
    case (.serving, .operatorsGone), (.draining, .operatorsGone), (.cutting, .operatorsGone):
      // They come and go.
      return .nothing
    case (.serving, .patienceIsOver), (.draining, .patienceIsOver), (.cutting, .patienceIsOver):
      return .nothing
    case (.finished, .stop), (.finished, .graceIsOver), (.finished, .empty), (.finished, .cancelled),
      (.finished, .operatorsGone), (.finished, .patienceIsOver):
      return .nothing
    }
  }

  /// Whether further connections are accepted.
  var isServing: Bool { if case .serving = state { true } else { false } }
}
