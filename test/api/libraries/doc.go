// Package libraries uses the API as programs do: by client-go and controller-runtime
// as they are. A manager with an elected leader reconciles custom objects, informers
// go on after the server was away, clients of every kind read and write.
package libraries
