package resources

import (
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// FlowControl returns the rows of the group flowcontrol.apiserver.k8s.io.
func FlowControl() []Resource {
	return []Resource{flowSchemas(), priorityLevels()}
}

func flowSchemas() Resource {
	r := row[flowcontrolv1.FlowSchema, flowcontrolv1.FlowSchemaList](flowcontrolv1.SchemeGroupVersion, "FlowSchema", "flowschemas")
	r.ClusterScoped = true
	r.Columns = []metav1.TableColumnDefinition{
		nameColumn(),
		docColumn("PriorityLevel", "string", flowcontrolv1.PriorityLevelConfigurationReference{}, "name"),
		docColumn("MatchingPrecedence", "string", flowcontrolv1.FlowSchemaSpec{}, "matchingPrecedence"),
		docColumn("DistinguisherMethod", "string", flowcontrolv1.FlowSchemaSpec{}, "distinguisherMethod"),
		ageColumn(),
		column("MissingPL", "string", "references a broken or non-existent PriorityLevelConfiguration"),
	}
	r.Cells = cells(func(f *flowcontrolv1.FlowSchema) []any {
		method, missing := "<none>", "?"
		if f.Spec.DistinguisherMethod != nil {
			method = string(f.Spec.DistinguisherMethod.Type)
		}
		for _, c := range f.Status.Conditions {
			if c.Type == flowcontrolv1.FlowSchemaConditionDangling {
				missing = string(c.Status)
				break
			}
		}
		return []any{
			f.Name, f.Spec.PriorityLevelConfiguration.Name, int64(f.Spec.MatchingPrecedence), method,
			since(f.CreationTimestamp), missing,
		}
	})
	r.Strategy = flowSchemaStrategy()
	r.Status = flowSchemaStatusStrategy()
	return r
}

func priorityLevels() Resource {
	r := row[flowcontrolv1.PriorityLevelConfiguration, flowcontrolv1.PriorityLevelConfigurationList](
		flowcontrolv1.SchemeGroupVersion, "PriorityLevelConfiguration", "prioritylevelconfigurations")
	r.ClusterScoped = true
	r.Columns = []metav1.TableColumnDefinition{
		nameColumn(),
		docColumn("Type", "string", flowcontrolv1.PriorityLevelConfigurationSpec{}, "type"),
		docColumn("NominalConcurrencyShares", "string", flowcontrolv1.LimitedPriorityLevelConfiguration{}, "nominalConcurrencyShares"),
		docColumn("Queues", "string", flowcontrolv1.QueuingConfiguration{}, "queues"),
		docColumn("HandSize", "string", flowcontrolv1.QueuingConfiguration{}, "handSize"),
		docColumn("QueueLengthLimit", "string", flowcontrolv1.QueuingConfiguration{}, "queueLengthLimit"),
		ageColumn(),
	}
	r.Cells = cells(func(p *flowcontrolv1.PriorityLevelConfiguration) []any {
		var shares, queues, hand, limit any = "<none>", "<none>", "<none>", "<none>"
		if l := p.Spec.Limited; l != nil {
			shares = deref(l.NominalConcurrencyShares, 0)
			if q := l.LimitResponse.Queuing; q != nil {
				queues, hand, limit = q.Queues, q.HandSize, q.QueueLengthLimit
			}
		}
		return []any{p.Name, string(p.Spec.Type), shares, queues, hand, limit, since(p.CreationTimestamp)}
	})
	r.Strategy = priorityLevelStrategy()
	r.Status = priorityLevelStatusStrategy()
	return r
}
