// Package simnode plays nodes that run no containers: it registers them, renews
// their leases, and does for the pods bound to them what an agent does, with
// programs that are annotations.
//
// What it tells of a pod is what the pod's containers would do: they start, are
// ready, end with an exit code, are started again as the restart policy says,
// and take a moment to stop. A container goes on while the API server is away,
// as a real one would. One that the API lost sight of still takes its moment,
// so who watches Options.Seen finds two of one name running at a time.
package simnode
