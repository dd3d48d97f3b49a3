import Middlewares
import Testing

@testable import ScryptPasswords

/// RFC 7914, 12. The fourth vector needs 1 GiB, which is above the limit of one login.
struct ScryptVectorTests {
  @Test(arguments: [
    (
      "", "", 4, 1, 1,
      "77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442fcd0069ded0948f8326a753a0fc81f17e8d3e0fb2e0d3628cf35e20c38d18906"
    ),
    (
      "password", "NaCl", 10, 8, 16,
      "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b3731622eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640"
    ),
    (
      "pleaseletmein", "SodiumChloride", 14, 8, 1,
      "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887"
    ),
  ])
  func vectorsOfTheRFC(password: String, salt: String, ln: Int, r: Int, p: Int, expected: String) throws {
    let cost = ScryptCost(log2N: ln, blockSize: r, parallelism: p)
    let output = try Scrypt.derive(Array(password.utf8), salt: Array(salt.utf8), cost: cost, count: 64)
    #expect(hex(output) == expected)
  }

  /// RFC 4231, 4.2 and 4.3.
  @Test(arguments: [
    (
      [UInt8](repeating: 0x0b, count: 20), "Hi There",
      "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
    ),
    (
      Array("Jefe".utf8), "what do ya want for nothing?",
      "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    ),
  ])
  func hmacVectorsOfTheRFC(key: [UInt8], message: String, expected: String) {
    let digest = KeyedDigest(key: key).digest(Array(message.utf8))
    #expect(digest == PasswordDigest(words(expected)))
  }

  private func hex(_ bytes: [UInt8]) -> String {
    bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
  }

  private func words(_ hex: String) -> (UInt64, UInt64, UInt64, UInt64) {
    let digits = Array(hex)
    let words = (0..<4).map { UInt64(String(digits[($0 * 16)..<($0 * 16 + 16)]), radix: 16)!.bigEndian }
    return (words[0], words[1], words[2], words[3])
  }
}
