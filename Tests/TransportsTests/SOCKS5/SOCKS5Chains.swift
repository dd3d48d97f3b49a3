import Pipeline

@testable import Transports

/// Takes one user; a client that sends no password is asked to send one.
struct OneUser: Authenticator {
  typealias Carrier = PasswordExchange
  var user = "fierceRabbit"
  var password = "secretThicket"

  var uses: Uses { .password }

  func authenticate(_ exchange: PasswordExchange) async throws -> Principal {
    guard let credentials = try await exchange.credentials() else { throw Rejection(.credentialsRequired) }
    guard credentials.user == Array(user.utf8), credentials.password.reveal() == Array(password.utf8) else {
      throw Rejection(.credentialsInvalid)
    }
    return Principal(user)
  }
}

/// Refuses everything.
struct Refuse: Middleware {
  var kind: Rejection.Kind

  func handle(_ exchange: Exchange, next: Next) async throws -> Summary { throw Rejection(kind) }
}

/// Tells a test what happened to each exchange.
struct Witness: Middleware {
  enum Event: Sendable, Equatable {
    case began(UInt64)
    case ended(UInt64, Summary)
    case rejected(UInt64, Rejection.Kind, isCommitted: Bool)
  }

  let events: Mailbox<Event>

  func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    events.put(.began(exchange.id))
    do {
      let summary = try await next()
      events.put(.ended(exchange.id, summary))
      return summary
    } catch {
      events.put(.rejected(exchange.id, Rejection(error).kind, isCommitted: exchange.isCommitted))
      throw error
    }
  }
}

extension Mailbox<Witness.Event> {
  /// How the next exchange that ends does.
  func nextEnd() async -> Witness.Event? {
    while let event = await next() {
      if case .began = event { continue }
      return event
    }
    return nil
  }
}
