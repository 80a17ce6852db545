package resources

import (
	"fmt"
	"strconv"
	"strings"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Discovery returns the rows of the group discovery.k8s.io.
func Discovery() []Resource {
	r := row[discoveryv1.EndpointSlice, discoveryv1.EndpointSliceList](discoveryv1.SchemeGroupVersion, "EndpointSlice", "endpointslices")
	r.Columns = []metav1.TableColumnDefinition{
		nameColumn(),
		docColumn("AddressType", "string", discoveryv1.EndpointSlice{}, "addressType"),
		docColumn("Ports", "string", discoveryv1.EndpointSlice{}, "ports"),
		docColumn("Endpoints", "string", discoveryv1.EndpointSlice{}, "endpoints"),
		ageColumn(),
	}
	r.Cells = cells(func(s *discoveryv1.EndpointSlice) []any {
		return []any{s.Name, string(s.AddressType), slicePorts(s.Ports), sliceAddresses(s.Endpoints), since(s.CreationTimestamp)}
	})
	r.Strategy = endpointSliceStrategy()
	return []Resource{r}
}

func slicePorts(ports []discoveryv1.EndpointPort) string {
	list := make([]string, 0, len(ports))
	for _, p := range ports {
		switch {
		case p.Port != nil:
			list = append(list, strconv.Itoa(int(*p.Port)))
		case p.Name != nil:
			list = append(list, *p.Name)
		default:
			list = append(list, "*")
		}
	}
	return firstThree(list)
}

func sliceAddresses(endpoints []discoveryv1.Endpoint) string {
	var list []string
	for i := range endpoints {
		list = append(list, endpoints[i].Addresses...)
	}
	return firstThree(list)
}

func firstThree(list []string) string {
	const shown = 3
	if len(list) > shown {
		return fmt.Sprintf("%s + %d more...", strings.Join(list[:shown], ","), len(list)-shown)
	}
	if s := strings.Join(list, ","); s != "" {
		return s
	}
	return "<unset>"
}
