package devices

import (
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/dynamic-resource-allocation/resourceclaim"

	"github.com/sinawi/sinawi/internal/scheduler/engine"
)

// Scored is the rule by which nodes are told apart, "" when they are not.
func (p *Plan) Scored() (rule engine.Rule, relative bool) {
	for _, claim := range p.open {
		for i := range claim.Spec.Devices.Requests {
			if len(claim.Spec.Devices.Requests[i].FirstAvailable) > 0 {
				return engine.RuleDevices, true
			}
		}
	}
	return "", false
}

// Score is higher the nearer to the front of their lists the alternatives are that
// the claims would get.
func (p *Plan) Score(n engine.NodeView) int64 {
	given, problem := p.on(n.Object())
	if problem != "" {
		return 0
	}
	score := int64(0)
	for _, claim := range p.claims {
		if a := p.world.allocation(claim); a != nil {
			score += rank(claim, a)
		}
	}
	for _, c := range given {
		score += rank(c.Object, c.Allocation)
	}
	return score
}

func rank(claim *resourcev1.ResourceClaim, a *resourcev1.AllocationResult) (out int64) {
	given := map[string]bool{}
	for i := range a.Devices.Results {
		given[a.Devices.Results[i].Request] = true
	}
	for i := range claim.Spec.Devices.Requests {
		r := &claim.Spec.Devices.Requests[i]
		for at := range r.FirstAvailable {
			if given[resourceclaim.CreateSubRequestRef(r.Name, r.FirstAvailable[at].Name)] {
				out += int64(resourcev1.FirstAvailableDeviceRequestMaxSize - at)
			}
		}
	}
	return out
}
