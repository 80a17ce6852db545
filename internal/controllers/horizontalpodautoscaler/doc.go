// Package horizontalpodautoscaler changes how many pods a workload has, by what
// they use or by any other metric, so that each has as much to do as it should.
//
// It owns the status of HorizontalPodAutoscalers and writes the scale
// subresource of what they name, of whatever kind. While there are autoscalers
// it looks at each every few seconds; without any it does nothing. What it
// remembers (recent recommendations and changes) is lost when it stops, which
// makes it more careful, never bolder.
package horizontalpodautoscaler
