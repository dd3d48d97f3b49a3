// The field that says who the client is, for authenticators.
extension HTTPExchange {
  /// Where a client's credentials stand: `proxy-authorization` where it speaks to a forward proxy (RFC 9110, 11.7.1), else
  /// `authorization`.
  public final var credentialsField: HeaderName { request.isForProxy ? "proxy-authorization" : "authorization" }

  /// One field of credentials at most: of two, this proxy and the upstream might each believe another one.
  ///
  /// - Throws: `Rejection(.malformed)`.
  public final func requireOneCredentialsField() throws {
    guard request.fields.count(of: credentialsField) > 1 else { return }
    throw Rejection(.malformed, detail: "\(credentialsField) is there twice: at most one is allowed")
  }

  /// Keeps the `authorization` that the client sent from going on to an upstream: it was meant for this proxy and has been
  /// used here. Elements below still see the field; another one that they set for the upstream goes on.
  ///
  /// `proxy-authorization` never goes on, so where the client speaks to a forward proxy this does nothing: there
  /// `authorization` is for the origin. Allocates nothing on a connection that has done it before.
  public final func withholdCredentials() {
    if request.isForProxy { return }
    request.fields.withValue(of: "authorization") { value in
      guard let value else { return }
      withhold(value)
    }
  }
}
