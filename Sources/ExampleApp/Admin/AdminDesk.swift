import Middlewares
import Pipeline
import Synchronization
import Transports

/// What the admin socket shows and does: the server as its operator sees it.
final class AdminDesk: Sendable {
  let server = ServerHandle()
  let accounting: Accounting
  let users: UserSettings
  private let clock: WallClock
  private let started: UnixTime
  private let services = Mutex<(any BackgroundServices)?>(nil)
  private let operation = Mutex<ProxyOperation?>(nil)
  private let process = ProcessMetrics()
  /// What stands in no chain and has numbers to show.
  private let sources: [any MetricSource]

  init(
    _ accounting: Accounting, users: UserSettings, sources: [any MetricSource] = [], clock: WallClock = .system
  ) {
    self.sources = sources
    self.accounting = accounting
    self.users = users
    self.clock = clock
    started = clock.now
  }

  func lend(_ services: any BackgroundServices) { self.services.withLock { $0 = services } }

  private var borrowed: (any BackgroundServices)? { services.withLock { $0 } }

  // MARK: Metrics

  func collect(into page: inout MetricPage) {
    if let server = server.current { page.add(server) }
    page.add(process)
    for source in sources { page.add(source) }
    if let writer = accounting.writer { page.add(writer) }
  }

  // MARK: Statistics

  func global() async throws -> JSON {
    var members = answer(try await accounting.global(at: clock.now, borrowed)).json.members
    let server = server.current
    members.append(JSON.Member(name: "started", value: .string(started.rfc3339)))
    members.append(JSON.Member(name: "openConnections", value: .int(server?.openConnections ?? 0)))
    let refused = (server?.refusedConnections() ?? []).map { refused -> JSON in
      .object([
        "listener": .string(refused.listener), "perClient": .int(refused.perClient),
        "proxyProtocol": .int(refused.proxyProtocol),
      ])
    }
    members.append(JSON.Member(name: "refusedConnections", value: .array(refused)))
    if let status = accounting.writer?.status {
      members.append(
        JSON.Member(
          name: "ledgerStatus",
          value: .object([
            "loaded": .bool(status.isLoaded), "batches": .int(status.batches), "rows": .int(status.rows),
            "failures": .int(status.failures), "pending": .int(status.pending),
            "problem": .text(status.problem.map { "\($0)" }),
          ])))
    }
    return .object(members)
  }

  /// - Returns: `nil` for a user whom nobody knows.
  func user(_ name: String) async throws -> JSON? {
    let known = try await accounting.account(of: name, at: clock.now, borrowed)
    guard var report = known ?? (users.table?[name] != nil ? AccountReport(user: name) : nil) else { return nil }
    if users.table?[name]?.isBlocked ?? false { report.blocked = true }
    return answer(report).json
  }

  private func answer(_ report: AccountReport) -> StatisticsAnswer {
    StatisticsAnswer(
      source: "server", ledger: accounting.writer?.ledger.name, lastFlush: accounting.writer?.status.lastWrite?.rfc3339,
      zone: accounting.limits.zone.name, account: report)
  }

  // MARK: Users

  /// A page of who may log in or has used something, by name.
  func page(after name: String?, limit: Int) async throws -> JSON {
    let used = try await accounting.page(after: name, limit: limit + 1, at: clock.now, borrowed)
    var reports = Dictionary(uniqueKeysWithValues: used.map { ($0.user ?? "", $0) })
    for user in users.table?.users ?? [] where name.map({ $0.isBefore(user.name) }) ?? true {
      if reports[user.name] == nil { reports[user.name] = AccountReport(user: user.name) }
    }
    let names = reports.keys.sorted { $0.isBefore($1) }
    let rows = names.prefix(limit).map { name -> JSON in
      let user = users.table?[name]
      let report = reports[name]
      return .object([
        "user": .string(name), "login": .bool(user != nil),
        "roles": .array((user?.roles.sorted() ?? []).map { .string($0) }),
        "blocked": .bool((user?.isBlocked ?? false) || (report?.blocked ?? false)), "plan": .text(report?.plan),
        "requests": .int(report?.total.requests ?? 0), "up": .int(report?.total.up ?? 0),
        "down": .int(report?.total.down ?? 0), "lastSeen": .text(report?.lastSeen),
      ])
    }
    let next = names.count > limit ? names.prefix(limit).last : nil
    return .object(["file": .text(users.file), "users": .array(rows), "next": .text(next)])
  }

  /// Whether anybody of this name is known: may log in, or has used something.
  func isKnown(_ name: String) async throws -> Bool {
    if users.table?[name] != nil { return true }
    return try await accounting.account(of: name, at: clock.now, borrowed) != nil
  }

  /// Does it, for all listeners at once: who is blocked is refused from the next exchange on.
  func perform(_ action: AdminAction, on name: String, plan: String?) async throws {
    try await accounting.perform(action, on: name, plan: plan)
    // The table as well: it holds for routes and listeners that have no quota.
    switch action {
    case .block: users.table?.block(name)
    case .unblock: users.table?.unblock(name)
    case .reset, .plan: break
    }
  }

  func reloadUsers() throws -> JSON {
    try users.reload()
    return .object(["users": .int(users.table?.count ?? 0), "file": .text(users.file)])
  }

  // MARK: Settings

  /// Who reads the settings again, where they can be.
  func setOperation(_ new: ProxyOperation?) { operation.withLock { $0 = new } }

  /// - Returns: `nil` where the server runs by flags alone.
  func reloadSettings(
    reading: (@Sendable @escaping () throws -> ProxySettings) async throws -> ProxySettings
  ) async throws -> ReloadOutcome? {
    guard let operation = operation.withLock({ $0 }) else { return nil }
    return try await operation.reload(reading: reading)
  }

  // MARK: The ledger

  func flush() async -> JSON {
    guard let writer = accounting.writer else { return .object(["written": .bool(true), "problem": .null]) }
    guard let services = borrowed else {
      return .object(["written": .bool(false), "problem": .string("the server is starting")])
    }
    let isWritten = await writer.flush(services)
    return .object([
      "written": .bool(isWritten), "problem": .text(isWritten ? nil : writer.status.problem.map { "\($0)" }),
    ])
  }

  // MARK: Connections

  /// - Parameter showsUsers: else neither who somebody is nor where they want to go is shown.
  func connections(after id: UInt64, limit: Int, of user: String?, showsUsers: Bool) async -> JSON {
    let reports =
      await server.current?.openExchanges(after: id, limit: limit) { report in
        user == nil || report.principal?.id == user
      } ?? []
    let rows = reports.map { report -> JSON in
      .object([
        "id": .int(Int(clamping: report.id)), "listener": .string(report.listener),
        "client": .string("\(report.client)"), "identity": .text(showsUsers ? report.principal?.id : nil),
        "destination": .text(showsUsers ? report.destination.map { "\($0)" } : nil),
        "upstream": .text(showsUsers ? report.upstream.map { "\($0)" } : nil),
        "seconds": .int(Int(report.age.components.seconds)), "up": .int(Int(clamping: report.traffic.up)),
        "down": .int(Int(clamping: report.traffic.down)),
      ])
    }
    return .object([
      "connections": .array(rows), "open": .int(server.current?.openConnections ?? 0),
      "next": reports.count < limit ? .null : reports.last.map { .int(Int(clamping: $0.id)) } ?? .null,
    ])
  }
}

extension JSON {
  /// Of an object.
  var members: [Member] {
    if case .object(let members) = self { members } else { [] }
  }
}
