import JWTAuthentication
import Pipeline
import Testing

/// Tokens and keys of the RFCs. None of them has a subject, so "sub is missing" says that the signature was found
/// right.
struct JWTVectorTests {
  private let rightlySigned = "sub is missing, or is no text of 1 to 255 bytes without control characters"
  private let payload =
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"

  private func judge(_ token: String, _ jwk: String, at seconds: Int64 = 1_300_819_379) throws -> String {
    try JWTVerifier(jwks: TokenMaker.jwks(jwk)).judge(token, at: seconds)
  }

  private func check(_ token: String, _ jwk: String) throws {
    #expect(try judge(token, jwk) == rightlySigned)
    #expect(try judge(token, jwk, at: 1_300_819_380 + 30) == "it has expired")
    // One bit of every byte of the signature.
    let dot = token.lastIndex(of: ".")!
    let signature = Array(token[token.index(after: dot)...])
    for i in stride(from: 0, to: signature.count - 1, by: 7) {
      var wrong = signature
      wrong[i] = wrong[i] == "A" ? "B" : "A"
      #expect(try judge(token[...dot] + String(wrong), jwk) == "its signature is wrong")
    }
  }

  @Test func rfc7515A1HS256() throws {
    let key =
      "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"
    try check(
      "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\(payload).dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
      #"{"kty":"oct","k":"\#(key)"}"#)
  }

  @Test func rfc7515A2RS256() throws {
    let n =
      "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMs"
      + "D1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdV"
      + "MTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"
    let signature =
      "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZ"
      + "cAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-e"
      + "OkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
    try check(
      "eyJhbGciOiJSUzI1NiJ9.\(payload).\(signature)", #"{"kty":"RSA","n":"\#(n)","e":"AQAB"}"#)
  }

  @Test func rfc7515A3ES256() throws {
    try check(
      "eyJhbGciOiJFUzI1NiJ9.\(payload)."
        + "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
      #"""
      {"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
       "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}
      """#)
  }

  @Test func rfc7515A5UnsecuredIsRefused() throws {
    let secret = TokenMaker.secretJWK()
    #expect(try judge("eyJhbGciOiJub25lIn0.\(payload).", secret) == "its algorithm is none that is taken")
  }

  @Test func rfc8037A4Ed25519() throws {
    let jwk = #"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#
    let signed = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."
    let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    // The payload is a sentence, and is looked at after the signature only.
    #expect(try judge(signed + signature, jwk).hasPrefix("it is malformed: its payload is no valid JSON"))
    #expect(try judge(signed + "A" + signature.dropFirst(), jwk) == "its signature is wrong")
  }
}
