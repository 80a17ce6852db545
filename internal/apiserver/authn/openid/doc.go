// Package openid proves users by the tokens of OpenID Connect providers: those
// that an AuthenticationConfiguration file names, or the one that flags name.
// What a token must say and which user it makes is upstream's plugin's work.
//
// The file is followed: a changed one takes effect without a restart when its
// providers answer; one that is wrong is told of in the log, and the one before
// stays. The goroutines that fetch the providers' keys belong to Run.
package openid
