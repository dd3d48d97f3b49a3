import JWTAuthentication

/// Something that an answer of the admin socket is read into.
protocol AdminAnswer {
  /// - Throws: ``AdminError`` for a member that is missing or is something else.
  init(_ members: JSONMembers) throws
}

/// The members of an object. Those that are not asked for may be there: a newer server says more.
struct JSONMembers {
  private let members: [String: JSONValue]

  init(_ value: JSONValue) throws {
    guard let members = value.object else { throw AdminError("it is no object") }
    self.members = members
  }

  func text(_ name: String) throws -> String {
    guard let text = members[name]?.string else { throw AdminError("\(name) is no text") }
    return text
  }

  /// `nil` where it is not there, or null.
  func optionalText(_ name: String) throws -> String? { isThere(name) ? try text(name) : nil }

  /// Whole numbers; beyond 2^53, about 9 petabytes, the last digits may be others.
  func number(_ name: String) throws -> Int {
    guard let number = members[name]?.number, let whole = Int(exactly: number.rounded()) else {
      throw AdminError("\(name) is no number")
    }
    return whole
  }

  func optionalNumber(_ name: String) throws -> Int? { isThere(name) ? try number(name) : nil }

  func flag(_ name: String) throws -> Bool {
    guard let flag = members[name]?.bool else { throw AdminError("\(name) is neither true nor false") }
    return flag
  }

  func texts(_ name: String) throws -> [String] {
    guard let texts = members[name]?.strings else { throw AdminError("\(name) is no list of texts") }
    return texts
  }

  func object(_ name: String) throws -> JSONMembers { try JSONMembers(members[name] ?? .null) }

  func objects(_ name: String) throws -> [JSONMembers] {
    guard let array = members[name]?.array else { throw AdminError("\(name) is no list") }
    return try array.map(JSONMembers.init)
  }

  func has(_ name: String) -> Bool { members[name] != nil }

  private func isThere(_ name: String) -> Bool { members[name].map { $0 != .null } ?? false }
}

extension UsageNumbers: AdminAnswer {
  init(_ members: JSONMembers) throws {
    self.init()
    requests = try members.number("requests")
    connections = try members.number("connections")
    refused = try members.number("refused")
    failed = try members.number("failed")
    up = try members.number("up")
    down = try members.number("down")
  }
}

extension WindowReport: AdminAnswer {
  init(_ members: JSONMembers) throws {
    try self.init(
      window: members.text("window"), start: members.text("start"), end: members.text("end"),
      usage: UsageNumbers(members.object("usage")))
  }
}

extension QuotaStanding: AdminAnswer {
  init(_ members: JSONMembers) throws {
    try self.init(
      quota: members.text("quota"), unit: members.text("unit"), used: members.number("used"),
      limit: members.optionalNumber("limit"), resets: members.optionalText("resets"),
      exhausted: members.flag("exhausted"))
  }
}

extension AccountReport: AdminAnswer {
  init(_ members: JSONMembers) throws {
    self.init(user: try members.optionalText("user"))
    firstSeen = try members.optionalText("firstSeen")
    lastSeen = try members.optionalText("lastSeen")
    total = try UsageNumbers(members.object("total"))
    windows = try members.objects("windows").map(WindowReport.init)
    // All together are not blocked, and have no quota.
    guard user != nil else { return }
    blocked = try members.flag("blocked")
    plan = try members.optionalText("plan")
    quotas = try members.objects("quotas").map(QuotaStanding.init)
  }
}

extension StatisticsAnswer: AdminAnswer {
  init(_ members: JSONMembers) throws {
    try self.init(
      source: members.text("source"), ledger: members.optionalText("ledger"),
      lastFlush: members.optionalText("lastFlush"), zone: members.text("zone"),
      account: AccountReport(members.object("account")))
  }
}

extension UserRow: AdminAnswer {
  init(_ members: JSONMembers) throws {
    try self.init(
      user: members.text("user"), login: members.flag("login"), roles: members.texts("roles"),
      blocked: members.flag("blocked"), plan: members.optionalText("plan"))
  }
}

extension UserPage: AdminAnswer {
  init(_ members: JSONMembers) throws {
    try self.init(
      file: members.optionalText("file"), users: members.objects("users").map(UserRow.init),
      next: members.optionalText("next"))
  }
}

extension ReloadAnswer: AdminAnswer {
  init(_ members: JSONMembers) throws { self.init(users: try members.number("users")) }
}
