/// The version of the programs; README, CHANGELOG and the package agree with it (a test holds them to it).
package let programVersion: String = "0.1.0"
