public import Pipeline

/// Lets one department through and refuses the others with `forbidden`.
///
/// It asks for an `Employee`: below any other authenticator, or above ``BadgeAuth``, it does not compile.
public struct DepartmentOnly: IdentityMiddleware {
  private let department: String

  public init(_ department: String) { self.department = department }

  public var parameters: [Parameter] { [Parameter("department", department)] }

  public func handle(_ exchange: Exchange, identity: Employee, next: Next) async throws -> Summary {
    guard identity.department == department else {
      throw Rejection(.forbidden, detail: "\(identity.name) is of \(identity.department), not of \(department)")
    }
    return try await next()
  }
}
