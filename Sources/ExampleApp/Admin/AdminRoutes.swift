import Middlewares
import Pipeline
import Transports

/// What operators ask and order, route by route.
struct AdminRoutes: Sendable {
  /// Rows of one page.
  static let pageLimit = 1000

  let desk: AdminDesk
  /// Whether only the owner can ask: else nothing is shown that says who a user is, or where they go.
  let isForOwner: Bool

  // MARK: Is it well?

  /// The loops answer: that is all that a supervisor should restart a process for.
  @Sendable func health(_ exchange: HTTPExchange) async throws -> Summary {
    try await exchange.respond(text: "ok\n")
  }

  /// 503 from the moment a stop is asked for, so that balancers send no more.
  @Sendable func readiness(_ exchange: HTTPExchange) async throws -> Summary {
    switch desk.server.current?.isReady {
    case true?: try await exchange.respond(text: "ready\n")
    case false?: try await exchange.respond(503, text: "draining\n")
    case nil: try await exchange.respond(503, text: "starting\n")
    }
  }

  // MARK: What it does

  @Sendable func stats(_ exchange: HTTPExchange) async throws -> Summary {
    try await exchange.respond(json: try await desk.global())
  }

  @Sendable func users(_ exchange: HTTPExchange) async throws -> Summary {
    guard let limit = limit(of: exchange) else { return try await exchange.refuse(Self.limitSyntax) }
    return try await exchange.respond(json: try await desk.page(after: exchange.queryItem("after"), limit: limit))
  }

  @Sendable func userStats(_ exchange: HTTPExchange) async throws -> Summary {
    let name = exchange.pathParameter("name") ?? ""
    guard let known = try await desk.user(name) else { return try await exchange.unknown(name) }
    return try await exchange.respond(json: known)
  }

  @Sendable func change(_ exchange: HTTPExchange) async throws -> Summary {
    let name = exchange.pathParameter("name") ?? ""
    let text = exchange.pathParameter("action") ?? ""
    guard let action = AdminAction(rawValue: text) else {
      let known = AdminAction.allCases.map(\.rawValue).joined(separator: ", ")
      return try await exchange.refuse("\(JSON.string(text).text) is no action; allowed are \(known)", 404)
    }
    guard try await desk.isKnown(name) else { return try await exchange.unknown(name) }
    do {
      try await desk.perform(action, on: name, plan: exchange.queryItem("plan"))
    } catch let error as SettingsError {
      return try await exchange.refuse("\(error)")
    } catch let error as CacheError {
      return try await exchange.refuse("done here, and not where several processes count together: \(error)", 503)
    }
    exchange.runtime.log(.notice, "admin: \(action.rawValue) \(TerminalText.shown(name))")
    guard let known = try await desk.user(name) else { return try await exchange.unknown(name) }
    return try await exchange.respond(json: known)
  }

  @Sendable func chain(_ exchange: HTTPExchange) async throws -> Summary {
    let text = exchange.queryItem("format") ?? "text"
    guard let server = desk.server.current else { throw Rejection(.overloaded, detail: "the server is starting") }
    let plan = server.plan()
    if text == "json" { return try await exchange.respond(json: .object(["listeners": plan.json])) }
    guard let format = Plan.Format(rawValue: text) else {
      return try await exchange.refuse(
        "format: \(JSON.string(text).text) is not allowed; allowed are text, json, mermaid, dot")
    }
    return try await exchange.respond(text: plan.drawn(as: format))
  }

  @Sendable func connections(_ exchange: HTTPExchange) async throws -> Summary {
    guard let limit = limit(of: exchange) else { return try await exchange.refuse(Self.limitSyntax) }
    let after = exchange.queryItem("after") ?? "0"
    guard let id = UInt64(after) else {
      return try await exchange.refuse(
        "after: \(JSON.string(after).text) is not allowed; allowed is the id of a connection")
    }
    return try await exchange.respond(
      json: await desk.connections(
        after: id, limit: limit, of: isForOwner ? exchange.queryItem("user") : nil, showsUsers: isForOwner))
  }

  @Sendable func flush(_ exchange: HTTPExchange) async throws -> Summary {
    try await exchange.respond(json: await desk.flush())
  }

  @Sendable func reloadSettings(_ exchange: HTTPExchange) async throws -> Summary {
    do {
      let runtime = exchange.runtime
      let outcome = try await desk.reloadSettings { read in try await runtime.offload { try read() } }
      guard let outcome else {
        return try await exchange.refuse("this server runs by its flags alone: start it again to change them", 409)
      }
      for line in outcome.lines { exchange.runtime.log(.notice, "admin: reload: \(line)") }
      return try await exchange.respond(json: outcome.json)
    } catch let error as SettingsProblems {
      return try await exchange.refuse(error.sentences.joined(separator: "\n"), 409)
    } catch let error as ConfigurationError {
      return try await exchange.refuse(sentences(of: error).joined(separator: "\n"), 409)
    }
  }

  @Sendable func reload(_ exchange: HTTPExchange) async throws -> Summary {
    do {
      let desk = desk
      let told = try await exchange.runtime.offload { try desk.reloadUsers() }
      exchange.runtime.log(.notice, "admin: the users were read again")
      return try await exchange.respond(json: told)
    } catch let error as SettingsError {
      return try await exchange.refuse("\(error)", 409)
    } catch let error as UserFileError {
      return try await exchange.refuse("\(error)", 409)
    } catch let error as UserError {
      return try await exchange.refuse("\(error)", 409)
    }
  }

  private static let limitSyntax = "limit: allowed are 1...\(pageLimit)"

  private func limit(of exchange: HTTPExchange) -> Int? {
    guard let text = exchange.queryItem("limit") else { return 100 }
    return readInt(text, in: 1...Self.pageLimit)
  }
}

/// What can be done to an account.
enum AdminAction: String, CaseIterable {
  case block, unblock, reset, plan
}

extension HTTPExchange {
  func respond(_ status: Int = 200, json: JSON) async throws -> Summary {
    try await respond(status, text: json.text + "\n", contentType: "application/json")
  }

  /// A sentence for who asked.
  func refuse(_ sentence: String, _ status: Int = 400) async throws -> Summary {
    try await respond(status, json: .object(["error": .string(sentence)]))
  }

  func unknown(_ name: String) async throws -> Summary {
    try await refuse("nobody is known by the name \(JSON.string(name).text)", 404)
  }
}
