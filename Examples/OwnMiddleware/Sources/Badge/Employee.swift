public import Pipeline

/// Our own identity: what the chain below ``BadgeAuth`` knows about a client.
public struct Employee: Identity, Hashable {
  public let name: String
  public let department: String

  public init(name: String, department: String) {
    self.name = name
    self.department = department
  }

  /// What logs, limits and usage call the employee.
  public var principal: Principal { Principal(name) }
}
