// Package job runs pods to their end as often as a Job asks for.
//
// It owns the pods that a Job controls and the Job's status. No end of a pod is
// lost or counted twice: a pod carries a finalizer until the Job's status names
// it as ended, and only when the finalizer is off does its name turn into a
// number. The steps, each safe to repeat after a crash:
//
//	pod ends ──► status.uncountedTerminatedPods names it ──► finalizer comes off ──► it is counted
//
// Finished Jobs are deleted when their time to live is over.
package job
