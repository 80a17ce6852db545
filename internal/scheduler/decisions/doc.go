// Package decisions keeps what the scheduler decided, and why, in files: one line
// of JSON a decision, appended, the oldest file dropped when there is enough.
//
//	scheduler ──Put──► pending ──Run: one write a batch──► decisions.log ─► .1 ─► .2 ─► .3
//
// Put never waits: when the writer is behind, decisions are dropped and counted.
// What was written is in the file when the process is killed, and a line that a
// crash has torn is skipped by whoever reads. What was decided in the last tenth
// of a second may be missing then.
package decisions
