// Package devices decides which devices a pod's resource claims get, and on
// which nodes they can be had (resource.k8s.io/v1). It is pure: it knows the
// claims, classes and slices it is told of, and asks nobody; the search itself
// is Kubernetes' own structured allocator. For the node that was chosen it
// returns the allocations, which count as taken until the claims say so
// themselves or the pod is given up. Who writes them is the scheduler.
package devices
