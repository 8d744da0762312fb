// The library is CommonJS, and Grafana's libraries import it by name and as a whole.
import library from './node_modules/react-custom-scrollbars-2/lib/index.js';

export const Scrollbars = library.default ?? library;
export default Scrollbars;
