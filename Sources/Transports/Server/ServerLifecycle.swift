/// When a server accepts, drains, cuts and ends: what happens goes in, what is to be done comes out.
struct ServerLifecycle {
  enum Event {
    /// Somebody asked for an orderly stop: a signal, an operator.
    case stop
    /// The time for an orderly stop is over.
    case graceIsOver
    /// No connection is left.
    case empty
    /// The task that runs the server was cancelled.
    case cancelled
  }

  enum Action: Equatable {
    case nothing
    /// Accept no more, start the clock of the grace, and say `empty` when no connection is left.
    case drain
    /// Accept no more, end every connection, and say `empty` when no connection is left.
    case cut
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
      state = .finished
      return .finish
    case (.cutting, .stop), (.cutting, .graceIsOver), (.cutting, .cancelled):
      // Everything that can be done is being done.
      return .nothing
    case (.finished, .stop), (.finished, .graceIsOver), (.finished, .empty), (.finished, .cancelled):
      return .nothing
    }
  }

  /// Whether further connections are accepted.
  var isServing: Bool { if case .serving = state { true } else { false } }
}
