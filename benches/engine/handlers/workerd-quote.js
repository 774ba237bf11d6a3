// What workerd serves beside the component made from `quote.js`: the same source.
import { handle } from './quote.js';

export default { fetch: handle };
