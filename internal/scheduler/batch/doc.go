// Package batch knows what is placed together and whose turn it is: the pods of
// a group, or one pod that has a queue, make a unit; units wait in the lines of
// their queues. It keeps the books of package fair over what the queues use.
//
// It decides nothing about nodes and writes nothing: the scheduler tells it which
// pods have a node, tries the unit that Next names, and parks it or commits it.
// It has no lock, no clock and no client.
package batch
