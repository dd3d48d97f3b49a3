import Pipeline
import Transports

/// What an operator can have done to a backend.
enum BackendAction: String, CaseIterable {
  case enable, disable, drain

  func perform(on backend: String, of group: UpstreamGroup) throws {
    switch self {
    case .enable: try group.enable(backend)
    case .disable: try group.disable(backend)
    case .drain: try group.drain(backend)
    }
  }
}

extension AdminRoutes {
  /// Every group with its backends and what happened to them last.
  @Sendable func upstreams(_ exchange: HTTPExchange) async throws -> Summary {
    let groups = desk.server.current?.upstreamGroups ?? []
    return try await exchange.respond(
      json: .object(["upstreams": .array(groups.map { $0.report().json(at: exchange.now) })]))
  }

  /// `POST /upstreams/web/10.0.0.1:80/drain`. Two groups of one name are one to the operator.
  @Sendable func changeBackend(_ exchange: HTTPExchange) async throws -> Summary {
    let (name, backend, text) = (
      exchange.pathParameter("upstream") ?? "", exchange.pathParameter("backend") ?? "",
      exchange.pathParameter("action") ?? ""
    )
    guard let action = BackendAction(rawValue: text) else {
      let known = BackendAction.allCases.map(\.rawValue).joined(separator: ", ")
      return try await exchange.refuse("\(JSON.string(text).text) is no action; allowed are \(known)", 404)
    }
    let groups = (desk.server.current?.upstreamGroups ?? []).filter { $0.name == name }
    guard !groups.isEmpty else {
      let known = Set((desk.server.current?.upstreamGroups ?? []).map(\.name)).sorted()
      let list = known.isEmpty ? "there are none" : "known are \(known.joined(separator: ", "))"
      return try await exchange.refuse("no upstream is named \(JSON.string(name).text); \(list)", 404)
    }
    do {
      for group in groups { try action.perform(on: backend, of: group) }
    } catch let error as UpstreamError {
      return try await exchange.refuse("\(error)", 404)
    }
    exchange.runtime.log(
      .notice, "admin: \(action.rawValue) \(TerminalText.shown(backend)) of \(TerminalText.shown(name))")
    return try await exchange.respond(
      json: .object(["upstreams": .array(groups.map { $0.report().json(at: exchange.now) })]))
  }
}

extension UpstreamReport {
  /// - Parameter now: by the loops' clock, which has no date.
  func json(at now: Instant) -> JSON {
    .object([
      "upstream": .string(name), "strategy": .string(strategy), "panic": .bool(isPanicking),
      "refused": .int(Int(clamping: refused)), "backends": .array(backends.map(\.json)),
      "events": .array(
        events.suffix(50).map { event in
          .object([
            "secondsAgo": .int(Int((now - event.at).components.seconds)),
            "backend": .string(event.backend), "event": .string(event.kind.rawValue), "reason": .string(event.reason),
          ])
        }),
    ])
  }
}

extension BackendReport {
  fileprivate var json: JSON {
    let failures = UpstreamFailure.allCases.map { kind in
      JSON.Member(name: kind.rawValue, value: .int(Int(clamping: totals.failures[kind])))
    }
    let check = lastCheck.map { check -> JSON in
      .object([
        "passed": .bool(check.passed), "detail": .string(check.detail),
        "milliseconds": .int(Int(check.took.inSeconds * 1000)), "secondsAgo": .int(Int(check.age.components.seconds)),
      ])
    }
    return .object([
      "backend": .string(name), "address": .string(address), "weight": .int(weight), "priority": .int(priority),
      "state": .string(state.rawValue),
      "usable": .bool(state.isUsable), "reason": .string(reason), "seconds": .int(Int(lasting.components.seconds)),
      "active": .int(active), "waiting": .int(waiting), "maxConnections": maxConnections.map { .int($0) } ?? .null,
      "tries": .int(Int(clamping: totals.tries)), "answered": .int(Int(clamping: totals.answered)),
      "failures": .object(failures), "ejections": .int(Int(clamping: totals.ejections)),
      "turnedAway": .int(Int(clamping: totals.turnedAway)),
      "checksPassed": .int(Int(clamping: totals.checksPassed)),
      "checksFailed": .int(Int(clamping: totals.checksFailed)),
      "latencyMicroseconds": latency.map { .int(Int($0.inSeconds * 1e6)) } ?? .null, "lastCheck": check ?? .null,
    ])
  }
}
