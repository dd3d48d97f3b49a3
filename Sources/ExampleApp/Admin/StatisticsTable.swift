/// Numbers for people.
enum StatisticsTable {
  static func drawn(_ answer: StatisticsAnswer) -> String {
    let account = answer.account
    var lines: [String] = []
    if let user = account.user {
      var state = account.blocked ? "blocked" : "not blocked"
      state += ", plan \(account.plan.map(TerminalText.shown) ?? "for everybody")"
      lines.append("\(TerminalText.shown(user)): \(state)")
    } else {
      lines.append("all accounts")
    }
    let seen = [account.firstSeen.map { "first seen \($0)" }, account.lastSeen.map { "last seen \($0)" }].compactMap {
      $0
    }
    lines.append(seen.isEmpty ? "not seen yet" : seen.joined(separator: ", "))
    lines.append("")
    var rows = [["", "requests", "connections", "refused", "failed", "up", "down"], row("total", account.total)]
    rows += account.windows.map { row("this \($0.window)", $0.usage) }
    lines += table(rows)
    if !account.quotas.isEmpty {
      lines.append("")
      var rows = [["quota", "used", "limit", "resets", ""]]
      rows += account.quotas.map { quota in
        let number = { (value: Int) in
          switch quota.unit {
          case "bytes": bytes(value)
          case "milliseconds": "\(value / 1000) s"
          case _: String(value)
          }
        }
        return [
          TerminalText.shown(quota.quota), number(quota.used), quota.limit.map(number) ?? "-", quota.resets ?? "never",
          quota.exhausted ? "exhausted" : "",
        ]
      }
      lines += table(rows)
    }
    lines.append("")
    lines.append(origin(answer))
    return lines.joined(separator: "\n")
  }

  private static func origin(_ answer: StatisticsAnswer) -> String {
    let flush = answer.lastFlush.map { ", written last at \($0)" } ?? ""
    if answer.source == "ledger" {
      let newest = answer.lastFlush.map { "; its newest usage is of \($0)" } ?? ""
      return "from the ledger (\(answer.ledger ?? "none")); no server runs\(newest)"
    }
    let behind = answer.ledger.map { "; its ledger is \($0)\(flush)" } ?? "; without a ledger: nothing lasts beyond it"
    return "from the running server\(behind); windows in \(answer.zone)"
  }

  private static func row(_ name: String, _ usage: UsageNumbers) -> [String] {
    [
      name, String(usage.requests), String(usage.connections), String(usage.refused), String(usage.failed),
      bytes(usage.up), bytes(usage.down),
    ]
  }

  /// `12.3 MB`: decimal units, rounded down, so that nothing looks used up that is not.
  static func bytes(_ count: Int) -> String {
    if count < 0 { return "-" + bytes(count == .min ? .max : -count) }
    var unit = 1
    for name in ["B", "kB", "MB", "GB", "TB", "PB"] {
      let (next, overflow) = unit.multipliedReportingOverflow(by: 1000)
      if count < next || overflow || name == "PB" {
        if unit == 1 { return "\(count) B" }
        return "\(count / unit).\(count / (unit / 10) % 10) \(name)"
      }
      unit = next
    }
    return "\(count) B"
  }

  /// Columns of equal width.
  ///
  /// - Parameter texts: how many columns are texts, which begin on the left; numbers end on the right.
  static func table(_ rows: [[String]], texts: Int = 1) -> [String] {
    guard let columns = rows.map(\.count).max() else { return [] }
    let widths = (0..<columns).map { column in
      rows.map { $0.indices.contains(column) ? $0[column].count : 0 }.max() ?? 0
    }
    return rows.map { row in
      let cells = row.enumerated().map { index, cell in
        index < texts
          ? cell.padding(to: widths[index]) : String(repeating: " ", count: widths[index] - cell.count) + cell
      }
      let line = cells.joined(separator: "  ")
      return String(line.reversed().drop { $0 == " " }.reversed())
    }
  }
}
