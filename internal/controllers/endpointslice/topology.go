package endpointslice

import (
	"fmt"
	"maps"
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// byTopology says whether the service wants its endpoints shared out among the
// zones by how much each zone can compute.
func byTopology(s *corev1.Service) bool {
	mode, ok := s.Annotations[corev1.AnnotationTopologyMode]
	if !ok {
		mode = s.Annotations[corev1.DeprecatedAnnotationTopologyAwareHints]
	}
	return mode == "Auto" || mode == "auto"
}

// overload is how much more than its share an endpoint may get.
const overload = 0.2

// sharesOf is what part of all processors each zone has; when that is not
// known, why.
func sharesOf(nodes []corev1.Node) (shares map[string]float64, why string) {
	sum, shares := 0.0, map[string]float64{}
	for i := range nodes {
		node := &nodes[i]
		if !counts(node) {
			continue
		}
		zone, cpu := node.Labels[corev1.LabelTopologyZone], node.Status.Allocatable.Cpu().AsApproximateFloat64()
		if zone == "" || cpu == 0 {
			return nil, "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"
		}
		shares[zone] += cpu
		sum += cpu
	}
	for zone := range shares {
		shares[zone] /= sum
	}
	if len(shares) < 2 {
		return nil, "Nodes only ready in one zone"
	}
	return shares, ""
}

// counts says whether a node's processors are for users' pods.
func counts(node *corev1.Node) bool {
	_, control := node.Labels["node-role.kubernetes.io/control-plane"]
	_, master := node.Labels["node-role.kubernetes.io/master"]
	return !control && !master && slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// share gives each zone its part of the endpoints that are ready, most of them
// to their own zone. An endpoint that another zone has keeps it when it can, so
// that a change moves few. It returns why there are no hints.
func share(endpoints []*discoveryv1.Endpoint, shares map[string]float64, had map[string]string) string {
	wanted, why := allocate(len(endpoints), shares)
	if why != "" {
		return why
	}
	have := map[string]int{}
	for _, e := range endpoints {
		if e.Zone == nil || *e.Zone == "" {
			return "One or more endpoints do not have a zone specified"
		}
		have[*e.Zone]++
	}
	giving, receiving := exchange(wanted, have)
	give := func(e *discoveryv1.Endpoint, to string) bool {
		if giving[*e.Zone] == 0 || receiving[to] == 0 {
			return false
		}
		giving[*e.Zone]--
		receiving[to]--
		e.Hints = forZone(to)
		return true
	}
	for _, e := range endpoints {
		if to := had[identity(e)]; to == *e.Zone || !give(e, to) {
			e.Hints = nil
		}
	}
	for _, e := range endpoints {
		if e.Hints != nil {
			continue
		}
		e.Hints = forZone(*e.Zone)
		for _, to := range slices.Sorted(maps.Keys(receiving)) {
			if give(e, to) {
				break
			}
		}
	}
	return ""
}

func forZone(zone string) *discoveryv1.EndpointHints {
	return &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: zone}}}
}

// allocate is how many endpoints each zone should have, no endpoint of which
// gets too much.
func allocate(n int, shares map[string]float64) (map[string]float64, string) {
	if n < len(shares) {
		return nil, fmt.Sprintf("Insufficient number of endpoints (%d endpoints, %d zones)", n, len(shares))
	}
	wanted, least := map[string]float64{}, 0
	for zone, part := range shares {
		desired := part * float64(n)
		minimum := math.Ceil(desired / (1 + overload))
		wanted[zone] = max(desired, minimum)
		least += int(minimum)
	}
	if least > n {
		return nil, fmt.Sprintf("Unable to allocate minimum required endpoints to each zone without exceeding overload threshold (%d endpoints, %d zones)", n, len(shares))
	}
	return wanted, ""
}

// exchange is how many endpoints zones give and receive. Zones without nodes
// that are ready give all.
func exchange(wanted map[string]float64, have map[string]int) (giving, receiving map[string]int) {
	more, less := map[string]float64{}, map[string]float64{}
	for zone, want := range wanted {
		if d := float64(have[zone]) - want; d > 0 {
			more[zone] = d
		} else if d < 0 {
			less[zone] = -d
		}
	}
	giving, receiving = map[string]int{}, map[string]int{}
	for {
		from, to := most(more), most(less)
		if from == "" || to == "" || more[from] < 1 && less[to] < 1 || more[from] < 0.5 || less[to] < 0.5 {
			return giving, receiving
		}
		giving[from]++
		more[from]--
		receiving[to]++
		less[to]--
	}
}

func most(zones map[string]float64) string {
	best := ""
	for _, zone := range slices.Sorted(maps.Keys(zones)) {
		if zones[zone] > 0 && (best == "" || zones[zone] > zones[best]) {
			best = zone
		}
	}
	return best
}

// hinted are the zones that endpoints of one family are meant for.
func hinted(s snapshot, family corev1.IPFamily) map[string]string {
	had := map[string]string{}
	for _, slice := range s.slices {
		for i := range slice.Endpoints {
			if e := &slice.Endpoints[i]; slice.AddressType == discoveryv1.AddressType(family) && e.Hints != nil && len(e.Hints.ForZones) == 1 {
				had[identity(e)] = e.Hints.ForZones[0].Name
			}
		}
	}
	return had
}

// takeHints says that a service does not want its endpoints shared out any more.
func takeHints(s snapshot, family corev1.IPFamily) []event {
	if s.service.Spec.TrafficDistribution != nil || len(hinted(s, family)) == 0 {
		return nil
	}
	return []event{{corev1.EventTypeWarning, "TopologyAwareHintsDisabled", fmt.Sprintf("Topology Aware Hints has been disabled, addressType: %s", family)}}
}

// addHints gives the endpoints of one family their zones, and says what users
// should know of it.
func addHints(groups map[string]*group, s snapshot, family corev1.IPFamily) (events []event) {
	had := hinted(s, family)
	var ready []*discoveryv1.Endpoint
	for _, id := range slices.Sorted(maps.Keys(groups)) {
		if groups[id].family != family {
			continue
		}
		for i := range groups[id].endpoints {
			if e := &groups[id].endpoints[i]; *e.Conditions.Ready {
				ready = append(ready, e)
			}
		}
	}
	why := s.unshared
	if why == "" {
		why = share(ready, s.shares, had)
	}
	switch {
	case why != "":
		for _, e := range ready {
			e.Hints = nil
		}
		events = append(events, event{corev1.EventTypeWarning, "TopologyAwareHintsDisabled", fmt.Sprintf("%s, addressType: %s", why, family)})
	case len(had) == 0:
		events = append(events, event{corev1.EventTypeNormal, "TopologyAwareHintsEnabled", fmt.Sprintf("Topology Aware Hints has been enabled, addressType: %s", family)})
	}
	return events
}
