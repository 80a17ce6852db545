package engine

import (
	"math"

	corev1 "k8s.io/api/core/v1"
)

// finer is what a point that is lost in rounding counts: enough to tell nodes apart
// that score the same, too little to outweigh a whole point.
const finer = 1e-6

// score is the part of a node's score that follows from the node alone: how
// well its resources would be used. It is in whole points, as kube-scheduler's,
// which chooses among nodes of equal score by chance; here what was lost in rounding
// decides first.
func (n *node) score(r *request) float64 { return n.scoreWith(r, nil) }

func (n *node) scoreWith(r *request, beside stock) float64 {
	p := r.profile
	total := 0.0
	if w := p.Weights[RuleResources]; w != 0 {
		points, exact := n.byStrategy(r, beside)
		total += float64(w) * (float64(points) + finer*exact)
	}
	if w := p.Weights[RuleBalanced]; w != 0 {
		points, exact := n.balance(r, beside)
		total += float64(w) * (float64(points) + finer*exact)
	}
	return total
}

// byStrategy is the mean of what the use of each resource scores.
func (n *node) byStrategy(r *request, beside stock) (points int64, exact float64) {
	sum, weights := int64(0), int64(0)
	for _, res := range r.profile.Resources {
		want := r.scoring.Of(res.Name)
		total, taken := n.stock(res.Name, &n.scoring, beside)
		if total == 0 || (want == 0 && isScalar(res.Name)) {
			continue
		}
		used := min(taken+want, total)
		score := (total - used) * 100 / total
		free := 100 * (1 - share(used, total))
		switch r.profile.Strategy {
		case MostAllocated:
			score, free = used*100/total, 100-free
		case RequestedToCapacityRatio:
			if score = Shaped(r.profile.Shape, used*100/total); score == 0 {
				continue // it does not count at all
			}
			free = 0
		}
		sum += score * res.Weight
		exact += free * float64(res.Weight)
		weights += res.Weight
	}
	if weights == 0 {
		return 0, 0
	}
	exact /= float64(weights)
	if r.profile.Strategy == RequestedToCapacityRatio {
		return int64(math.Round(float64(sum) / float64(weights))), exact
	}
	return sum / weights, exact
}

// isScalar reports whether a resource counts in a score only for pods that ask for it.
func isScalar(name corev1.ResourceName) bool {
	return name != corev1.ResourceCPU && name != corev1.ResourceMemory && name != corev1.ResourceEphemeralStorage
}

// Shaped reads a scoring function, whose scores go to 10, at a utilization in percent.
func Shaped(shape []Point, utilization int64) int64 {
	for i, p := range shape {
		if utilization > p.Utilization {
			continue
		}
		if i == 0 {
			return 10 * p.Score
		}
		before := shape[i-1]
		return 10*before.Score + 10*(p.Score-before.Score)*(utilization-before.Utilization)/(p.Utilization-before.Utilization)
	}
	if len(shape) == 0 {
		return 0
	}
	return 10 * shape[len(shape)-1].Score
}

// balance is 75, and more the more evenly a node's resources would be in use than
// they are.
func (n *node) balance(r *request, beside stock) (points int64, exact float64) {
	asked := false
	for _, res := range r.profile.Balanced {
		asked = asked || r.amounts.Of(res.Name) > 0
	}
	if !asked {
		return 0, 0 // it does not change the balance
	}
	before, after := n.unevenness(r, 0, beside), n.unevenness(r, 1, beside)
	evenness := func(deviation float64) int64 { return int64((1 - deviation) * 100) }
	return 50 + (50+evenness(after)-evenness(before))/2, 75 + 50*(before-after)
}

// unevenness is the standard deviation of the shares in use, with so many of the pods
// that ask.
func (n *node) unevenness(r *request, pods int64, beside stock) float64 {
	var shares [8]float64
	used, sum := shares[:0], 0.0
	for _, res := range r.profile.Balanced {
		total, taken := n.stock(res.Name, &n.used, beside)
		if total == 0 || (isScalar(res.Name) && r.amounts.Of(res.Name) == 0) {
			continue
		}
		x := share(taken+pods*r.amounts.Of(res.Name), total)
		used, sum = append(used, x), sum+x
	}
	switch len(used) {
	case 0, 1:
		return 0
	case 2: // not by the formula, whose rounding may cost a point
		return math.Abs((used[0] - used[1]) / 2)
	}
	mean, squares := sum/float64(len(used)), 0.0
	for _, x := range used {
		squares += (x - mean) * (x - mean)
	}
	return math.Sqrt(squares / float64(len(used)))
}

func share(used, total int64) float64 {
	if used >= total {
		return 1
	}
	return float64(used) / float64(total)
}
