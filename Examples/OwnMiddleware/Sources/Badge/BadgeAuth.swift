public import Pipeline

/// Identifies employees by name and badge number, sent as user name and password.
///
/// Its carrier is `PasswordExchange`, so it stands on SOCKS5 and on HTTP; on raw TCP it does not compile.
/// Refuses with `credentialsRequired` when the client sends nothing, with `credentialsInvalid` when the badge is unknown.
public struct BadgeAuth: Authenticator {
  private let employees: [[UInt8]: (employee: Employee, badge: Secret<[UInt8]>)]

  /// - Parameter badges: each employee with the number on the badge.
  public init(_ badges: [(employee: Employee, number: String)]) {
    var employees: [[UInt8]: (Employee, Secret<[UInt8]>)] = [:]
    for (employee, number) in badges { employees[Array(employee.name.utf8)] = (employee, Secret(Array(number.utf8))) }
    self.employees = employees
  }

  public var uses: Uses { .password }

  public var parameters: [Parameter] { [Parameter("employees", "\(employees.count)")] }

  public func authenticate(_ exchange: PasswordExchange) async throws -> Employee {
    guard let sent = try await exchange.credentials() else { throw Rejection(.credentialsRequired) }
    guard let known = employees[sent.user], isEqual(known.badge.reveal(), sent.password.reveal()) else {
      throw Rejection(.credentialsInvalid, detail: "unknown badge")
    }
    return known.employee
  }

  /// Compares without stopping at the first difference, so that the time tells nothing about the badge.
  private func isEqual(_ a: [UInt8], _ b: [UInt8]) -> Bool {
    guard a.count == b.count else { return false }
    return zip(a, b).reduce(0) { $0 | ($1.0 ^ $1.1) } == 0
  }
}
