// Package forward asks the host's name servers for names that are not the
// cluster's, and remembers answers for a short while. It reads the resolver
// configuration anew when the file has changed, never asks an address that leads
// back to this server, and says SERVFAIL with the reason where nobody answers.
// Equal questions that are under way at once are asked once.
package forward
